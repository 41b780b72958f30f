// What a service, or somebody at the portal, does before, while and after a device is there; with Microsoft's SDKs.
//
// Environment: PROVISIONING_CONNECTION_STRING, IOTHUB_CONNECTION_STRING
// Arguments: enroll | talk | remove, and the device
// Output: one line of JSON
"use strict";

const { ProvisioningServiceClient } = require("azure-iot-provisioning-service");
const { Client, Registry } = require("azure-iothub");

const dps = ProvisioningServiceClient.fromConnectionString(process.env.PROVISIONING_CONNECTION_STRING);
const hub = process.env.IOTHUB_CONNECTION_STRING;
const registry = Registry.fromConnectionString(hub);
const [step, id] = process.argv.slice(2);

/** The class of the error that `promise` ends with, and its status. */
const refusal = (promise) =>
  promise.then(
    () => "none",
    (error) => `${error.name} ${error.response && error.response.statusCode}`,
  );

/** A twin as it is now. */
const shown = ({ tags, properties }) => JSON.parse(JSON.stringify({ tags, properties }));

/** All enrollments, one page an item. Without the token every page is the first. */
async function enrolled() {
  const query = dps.createIndividualEnrollmentQuery({ query: "SELECT * FROM enrollments" }, 1);
  const [ids, pages] = [[], []];
  let token;
  do {
    const result = await new Promise((resolve, reject) => {
      query.next(token, (error, page) => (error ? reject(error) : resolve(page)));
    });
    pages.push(result.length);
    ids.push(...result.map((enrollment) => enrollment.registrationId));
    token = query.continuationToken;
  } while (token && pages.length < 10);
  return { ids: ids.sort(), pages };
}

const steps = {
  async enroll() {
    const wanted = {
      registrationId: id,
      deviceId: id,
      attestation: { type: "symmetricKey" },
      provisioningStatus: "enabled",
      initialTwin: { tags: { hall: "3" }, properties: { desired: { interval: 60 } } },
    };
    const made = (await dps.createOrUpdateIndividualEnrollment(wanted)).responseBody;
    const { symmetricKey } = (await dps.getIndividualEnrollmentAttestationMechanism(id)).responseBody;
    return {
      same: symmetricKey.primaryKey === made.attestation.symmetricKey.primaryKey,
      keys: [symmetricKey.primaryKey, symmetricKey.secondaryKey],
      before: await refusal(registry.get(id)),
      enrolled: await enrolled(),
    };
  },

  async talk() {
    const enrollment = (await dps.getIndividualEnrollment(id)).responseBody;
    const state = (await dps.getDeviceRegistrationState(id)).responseBody;
    const device = (await registry.get(id)).responseBody;
    const twin = (await registry.getTwin(id)).responseBody;
    const [before, edition] = [shown(twin), twin.etag];
    await twin.update({ tags: { hall: "4" }, properties: { desired: { interval: 5 } } });
    const stale = await refusal(registry.updateTwin(id, { tags: { hall: "5" } }, edition));
    const after = shown((await registry.getTwin(id)).responseBody);
    const client = Client.fromConnectionString(hub);
    const invoke = async (methodName) => {
      const call = { methodName, payload: { n: 1 }, responseTimeoutInSeconds: 20 };
      const { result } = await client.invokeDeviceMethod(id, call);
      return result;
    };
    return {
      enrollment: [enrollment.provisioningStatus, enrollment.registrationState && enrollment.registrationState.status],
      state: [state.status, state.deviceId, state.assignedHub],
      device: [device.status, device.connectionState],
      before,
      after,
      stale,
      echo: await invoke("echo"),
      reboot: await invoke("reboot"),
      nobody: await refusal(client.invokeDeviceMethod("nobody", { methodName: "echo" })),
    };
  },

  async remove() {
    await dps.deleteIndividualEnrollment(id);
    await registry.delete(id);
    return {
      enrollment: await refusal(dps.getIndividualEnrollment(id)),
      device: await refusal(registry.get(id)),
      enrolled: await enrolled(),
    };
  },
};

steps[step]().then(
  (told) => {
    console.log(JSON.stringify(told));
    // The SDK keeps connections alive.
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
