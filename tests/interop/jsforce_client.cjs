// What jsforce does against the simulated org: node jsforce_client.cjs FOLDER URL CLIENT_ID CLIENT_SECRET ASSERTION
// FOLDER holds node_modules. Ends with 1 where something is not as it should be.
const assert = require("node:assert/strict");
const [folder, url, clientId, clientSecret, assertion] = process.argv.slice(2);
const jsforce = require(require.resolve("jsforce", { paths: [folder] }));

async function main() {
  const oauth2 = { loginUrl: url, clientId, clientSecret };
  const first = new jsforce.Connection({ oauth2, instanceUrl: url, version: "64.0" });
  await first.authorize({ grant_type: "client_credentials" });
  const conn = new jsforce.Connection({ oauth2, instanceUrl: url, version: "64.0" });
  await conn.authorize({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion });

  assert.equal((await conn.identity()).username, "integration@simulator.example");
  let page = await conn.query("SELECT Id, Name FROM Lead ORDER BY Id");
  const ids = page.records.map(row => row.Id);
  assert.deepEqual([page.totalSize, page.records.length, page.done], [300, 120, false]);
  while (!page.done) ids.push(...(page = await conn.queryMore(page.nextRecordsUrl)).records.map(row => row.Id));
  assert.equal(new Set(ids).size, 300);

  const made = await conn.sobject("Lead").create({ LastName: "X", Company: "Y" });
  assert.equal(made.success, true);
  await assert.rejects(conn.sobject("Lead").create({ Nope__c: 1 }), /No such column 'Nope__c' on sobject of type Lead/);
  await conn.sobject("Lead").update({ Id: made.id, Fieldline_Score__c: 42 });
  assert.equal((await conn.sobject("Lead").retrieve(made.id)).Fieldline_Score__c, 42);
  const key = { Fieldline_Key__c: "NEW 1/2", LastName: "Z", Company: "Q" };
  assert.equal((await conn.sobject("Lead").upsert({ ...key }, "Fieldline_Key__c")).created, true);
  assert.equal((await conn.sobject("Lead").upsert({ ...key }, "Fieldline_Key__c")).created, false);

  const many = await conn.sobject("Lead").create([{ LastName: "A", Company: "B" }, { LastName: "C" }], { allOrNone: false });
  assert.deepEqual(many.map(each => each.success), [true, false]);
  assert.equal(many[1].errors[0].statusCode, "REQUIRED_FIELD_MISSING");
  assert.equal((await conn.sobject("Lead").retrieve([made.id, many[0].id])).length, 2);
  assert.deepEqual((await conn.sobject("Lead").destroy([many[0].id])).map(each => each.success), [true]);
  assert.ok((await conn.sobject("Lead").describe()).fields.length > 30);
  assert.ok((await conn.describeGlobal()).sobjects.length > 5);
  assert.equal((await conn.limits()).DailyApiRequests.Max, 100000);

  conn.bulk2.pollInterval = 100;
  conn.bulk2.pollTimeout = 60000;
  const rows = Array.from({ length: 250 }, (_, at) => ({ Fieldline_Key__c: `J${at}`, LastName: `"L", ${at}`, Company: at ? "Bulk" : "" }));
  const done = await conn.bulk2.loadAndWaitForResults({
    object: "Lead", operation: "upsert", externalIdFieldName: "Fieldline_Key__c", input: rows, pollInterval: 100, pollTimeout: 60000,
  });
  assert.deepEqual([done.successfulResults.length, done.failedResults.length, done.unprocessedRecords.length], [249, 1, 0]);
  assert.match(done.failedResults[0].sf__Error, /^REQUIRED_FIELD_MISSING:/);
  const stream = await conn.bulk2.query("SELECT Id, LastName FROM Lead WHERE Company = 'Bulk'", { pollInterval: 100, pollTimeout: 60000 });
  assert.equal((await stream.toArray()).length, 249);
  console.log("jsforce: all of it");
}

main().catch(error => { console.error(error); process.exit(1); });
