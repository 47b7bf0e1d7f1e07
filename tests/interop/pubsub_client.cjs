// What salesforce-pubsub-api-client does with the simulated org: logs in, publishes, subscribes, resumes, and meets refusals.
const assert = require("node:assert");
const path = require("node:path");

const [folder, url, endpoint, clientId, clientSecret] = process.argv.slice(2);
const { default: PubSubApiClient } = require(path.join(folder, "node_modules", "salesforce-pubsub-api-client"));
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const LEADS = "/data/LeadChangeEvent";
const SCORES = "/event/Score_Requested__e";

async function connected(more) {
  const client = new PubSubApiClient({
    authType: "oauth-client-credentials", loginUrl: url, clientId, clientSecret,
    pubSubEndpoint: endpoint, rejectUnauthorizedSsl: false, ...more,
  }, silent);
  await client.connect();
  return client;
}

// The events of a subscription until `count` have come.
function events(subscribe, count) {
  return new Promise((resolve, reject) => {
    const found = [];
    subscribe((info, type, data) => {
      if (type === "event") found.push(data);
      if (type === "error") reject(data);
      if (found.length === count) resolve(found);
    }, count);
  });
}

async function changes() {
  const client = await connected();
  const [made, changed] = await events((call, n) => client.subscribeFromEarliestEvent(LEADS, call, n), 2);
  assert.strictEqual(made.payload.ChangeEventHeader.changeType, "CREATE");
  assert.strictEqual(made.payload.Company, "Alpine");
  assert.strictEqual(made.payload.Name.LastName, "Lind");
  const names = changed.payload.ChangeEventHeader.changedFields;
  for (const name of ["Title", "LastModifiedDate", "Name.FirstName", "Address.City"]) assert.ok(names.includes(name), `${names}`);
  assert.deepStrictEqual(changed.payload.ChangeEventHeader.nulledFields, ["Title"]);
  client.close();
  const again = await connected();
  const [resumed] = await events((call, n) => again.subscribeFromReplayId(LEADS, call, n, made.replayId), 1);
  assert.strictEqual(resumed.replayId, changed.replayId);
  again.close();
  const wrong = await connected();
  await assert.rejects(
    events((call, n) => wrong.subscribeFromReplayId(LEADS, call, n, 99999999), 1),
    (error) => error.code === 3 && error.metadata.get("error-code")[0].endsWith("fetch.replayid.corrupted"),
  );
  wrong.close();
}

async function platformEvents() {
  const client = await connected();
  const one = { CreatedDate: Date.now(), CreatedById: "005", Record_Id__c: { string: "00Q1" }, Reason__c: null };
  const result = await client.publish(SCORES, one, "key-1");
  assert.strictEqual(result.correlationKey, "key-1");
  const batch = await new Promise((resolve, reject) => {
    client.publishBatch(SCORES, [{ payload: one }, { payload: one }], (info, type, data) => {
      if (type === "publishResponse") resolve(data.results);
      if (type === "error") reject(data);
    });
  });
  const found = await events((call, n) => client.subscribeFromEarliestEvent(SCORES, call, n), 3);
  assert.deepStrictEqual(found.map((event) => event.replayId), [result.replayId, ...batch.map((each) => each.replayId)]);
  assert.strictEqual(found[0].payload.Record_Id__c, "00Q1");
  client.close();
}

async function strangers() {
  const client = new PubSubApiClient({
    authType: "user-supplied", accessToken: "00D000000000001!no", instanceUrl: url,
    pubSubEndpoint: endpoint, rejectUnauthorizedSsl: false,
  }, silent);
  await client.connect();
  await assert.rejects(
    events((call, n) => client.subscribeFromEarliestEvent(LEADS, call, n), 1),
    (error) => error.code === 16 && error.metadata.get("error-code")[0].endsWith("service.auth.error"),
  );
  client.close();
}

changes().then(platformEvents).then(strangers).then(() => {
  console.log("pubsub: all of it");
  process.exit(0);
}, (error) => {
  console.error(error, error.cause);
  process.exit(1);
});
