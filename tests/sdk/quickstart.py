"""A device that knows nothing of emulators: what Azure's quickstart for symmetric keys does, with Microsoft's SDK.

Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_REGISTRATION_ID, PROVISIONING_SYMMETRIC_KEY
Options: --websockets talks MQTT over WebSocket (443) and not over TLS alone (8883)
"""

import asyncio
import os
import sys
import uuid

from azure.iot.device import Message
from azure.iot.device.aio import IoTHubDeviceClient, ProvisioningDeviceClient

MESSAGES = 10


async def main():
    websockets = "--websockets" in sys.argv[1:]
    key = os.environ["PROVISIONING_SYMMETRIC_KEY"]
    provisioning = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=os.environ["PROVISIONING_HOST"],
        registration_id=os.environ["PROVISIONING_REGISTRATION_ID"],
        id_scope=os.environ["PROVISIONING_IDSCOPE"],
        symmetric_key=key,
        websockets=websockets,
    )
    result = await provisioning.register()
    print("The complete registration result is")
    print(result.registration_state)
    if result.status != "assigned":
        sys.exit("Can not send telemetry from the provisioned device")

    print("Will send telemetry from the provisioned device")
    state = result.registration_state
    device = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=key, hostname=state.assigned_hub, device_id=state.device_id, websockets=websockets
    )
    await device.connect()

    async def send(number):
        print(f"sending message #{number}")
        message = Message(f"test wind speed {number}")
        message.message_id = uuid.uuid4()
        await device.send_message(message)
        print(f"done sending message #{number}")

    await asyncio.gather(*(send(number) for number in range(1, MESSAGES + 1)))
    await device.disconnect()


asyncio.run(main())
