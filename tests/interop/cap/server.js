// CAP with what an SAP gateway adds: a login, the client in the address, and a CSRF token bound to a session.
const cds = require('@sap/cds')
const cov2ap = require('@cap-js-community/odata-v2-adapter')
const { randomUUID } = require('node:crypto')

const login = 'Basic ' + Buffer.from('TECH_USER:secret of the tests').toString('base64')
const sessions = new Map()
// The V2 adapter asks the V4 service over HTTP: such a request was let in before.
const inside = randomUUID()

const session = req => /(?:^|; )SAP_SESSIONID_X_100=([^;]+)/.exec(req.headers.cookie || '')?.[1]
const second = req => /(?:^|; )sap-usercontext=/.test(req.headers.cookie || '')

function gateway(req, res, next) {
  if (!req.path.startsWith('/odata/') || req.headers['x-inside'] === inside) return next()
  if (req.headers.authorization !== login || req.query['sap-client'] !== '100')
    return res.status(401).type('html').send('<html><head><title>Logon Error Message</title></head><body>Logon failed</body></html>')
  req.headers['x-inside'] = inside
  if (/^fetch$/i.test(req.headers['x-csrf-token'] || '')) {
    const name = randomUUID()
    sessions.set(name, randomUUID())
    res.set('x-csrf-token', sessions.get(name))
    res.append('set-cookie', `SAP_SESSIONID_X_100=${name}; path=/; HttpOnly; Domain=internal.example`)
    res.append('set-cookie', 'sap-usercontext=sap-client=100; path=/')
  } else if (!['GET', 'HEAD'].includes(req.method)) {
    const token = sessions.get(session(req))
    if (!token || token !== req.headers['x-csrf-token'] || !second(req))
      return res.status(403).set('x-csrf-token', 'Required').type('text').send('CSRF token validation failed')
  }
  if (req.method === 'HEAD') return res.status(200).end()
  next()
}

// What the tests need before they begin: an empty shop with these rows, by name of the entity.
async function fill(req, res) {
  for (const name of ['Items', 'Orders', 'Partners']) await DELETE.from(`shop.${name}`)
  for (const [name, rows] of Object.entries(req.body)) if (rows.length) await INSERT.into(`shop.${name}`).entries(rows)
  res.status(204).end()
}

const rows = require('express').json({ limit: '64mb' })
cds.on('bootstrap', app => app.post('/fill', rows, fill).use(gateway).use(cov2ap()))
module.exports = cds.server
