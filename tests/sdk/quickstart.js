// A device that knows nothing of emulators: what Azure's quickstart for symmetric keys does, with Microsoft's SDK.
//
// Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_REGISTRATION_ID, PROVISIONING_SYMMETRIC_KEY
// Options: --websockets talks MQTT over WebSocket (443) and not over TLS alone (8883, or the port of the host)

const { Client, Message } = require('azure-iot-device');
const hubTransports = require('azure-iot-device-mqtt');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const dpsTransports = require('azure-iot-provisioning-device-mqtt');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');

const MESSAGES = 10;

async function main() {
  const transport = process.argv.includes('--websockets') ? 'MqttWs' : 'Mqtt';
  const variable = (name) => process.env[`PROVISIONING_${name}`];
  const key = variable('SYMMETRIC_KEY');
  const provisioning = ProvisioningDeviceClient.create(
    variable('HOST'),
    variable('IDSCOPE'),
    new dpsTransports[transport](),
    new SymmetricKeySecurityClient(variable('REGISTRATION_ID'), key)
  );
  const { assignedHub, deviceId, substatus } = await provisioning.register();
  console.log(`The complete registration result is\n${deviceId}\n${assignedHub}\n${substatus}\nnull`);

  console.log('Will send telemetry from the provisioned device');
  const device = Client.fromConnectionString(
    `HostName=${assignedHub};DeviceId=${deviceId};SharedAccessKey=${key}`,
    hubTransports[transport]
  );
  await device.open();
  const send = async (number) => {
    console.log(`sending message #${number}`);
    await device.sendEvent(new Message(`test wind speed ${number}`));
    console.log(`done sending message #${number}`);
  };
  await Promise.all(Array.from({ length: MESSAGES }, (_, index) => send(index + 1)));
  await device.close();
}

main().catch((error) => {
  console.error(error.name, error.message, error.statusCode ?? error.result?.errorCode ?? '');
  process.exit(1);
});
