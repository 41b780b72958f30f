"""A device that is talked to: registers, reads its twin, reports, and takes desired properties, methods and messages.

Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_REGISTRATION_ID, PROVISIONING_SYMMETRIC_KEY
Arguments: METHODS MESSAGES DESIRED, how many of each it waits for before it leaves
Output: a line of JSON for everything that happens; {"event": "ready"} when it listens to everything
"""

import asyncio
import json
import os
import sys

from azure.iot.device import MethodResponse
from azure.iot.device.aio import IoTHubDeviceClient, ProvisioningDeviceClient

METHODS = ("echo", "drive")


def tell(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


async def main():
    wanted = dict(zip(("method", "message", "desired"), map(int, sys.argv[1:4])))
    key = os.environ["PROVISIONING_SYMMETRIC_KEY"]
    provisioning = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=os.environ["PROVISIONING_HOST"],
        registration_id=os.environ["PROVISIONING_REGISTRATION_ID"],
        id_scope=os.environ["PROVISIONING_IDSCOPE"],
        symmetric_key=key,
    )
    result = await provisioning.register()
    state = result.registration_state
    tell("registered", status=result.status, device=state.device_id)
    device = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=key, hostname=state.assigned_hub, device_id=state.device_id
    )
    await device.connect()

    loop, done, missing = asyncio.get_running_loop(), asyncio.Event(), dict(wanted)

    def count(event, **facts):
        """Handlers run in threads of the SDK: what they saw is told and counted here, in one."""

        def act():
            if done.is_set():
                return
            tell(event, **facts)
            missing[event] -= 1
            if all(left <= 0 for left in missing.values()):
                done.set()

        loop.call_soon_threadsafe(act)

    async def on_method(request):
        known = request.name in METHODS
        status, payload = (200, {"echo": request.payload}) if known else (404, {"unknown": request.name})
        await device.send_method_response(MethodResponse.create_from_method_request(request, status, payload))
        count("method", name=request.name, payload=request.payload)

    def on_message(message):
        count(
            "message",
            body=message.data.decode(),
            id=message.message_id,
            correlation=message.correlation_id,
            content_type=message.content_type,
            properties=message.custom_properties,
        )

    async def on_desired(patch):
        await device.patch_twin_reported_properties({"seen": patch["$version"]})
        count("desired", patch=patch)

    device.on_method_request_received = on_method
    device.on_message_received = on_message
    device.on_twin_desired_properties_patch_received = on_desired
    tell("twin", twin=await device.get_twin())
    await device.patch_twin_reported_properties({"firmware": "1.2.3", "seen": 0})
    tell("ready")
    await done.wait()
    # When this is answered, the SDK has confirmed all messages that were told of.
    await device.get_twin()
    await device.shutdown()
    tell("left")


asyncio.run(main())
