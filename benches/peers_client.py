#!/usr/bin/env python3
"""Devices of a Python client, several in one process, that send to a broker at localhost:8883; peers.py starts it.

    peers_client.py sdk|paho CA_FILE DEVICES EVERY_S SECONDS PAYLOAD_BYTES

Sends from each device every EVERY_S (0: as soon as the last message was confirmed), QoS 1, and waits for each confirmation. Prints, as
JSON, how many messages that were, and what CPU and time sending took; starting and connecting are not in it.
"""

import base64
import json
import os
import pathlib
import resource
import sys
import threading
import time

PORT = 8883


def main(kind, ca, devices, every_s, seconds, size):
    connect = {"sdk": sdk_device, "paho": paho_device}[kind]
    senders = [connect(f"d-{n:05}", ca) for n in range(devices)]
    counts = [0] * devices
    gate = threading.Barrier(devices + 1)

    def send(n):
        gate.wait()
        start = time.monotonic()
        due = start + every_s * n / devices
        while due < start + seconds:
            time.sleep(max(0, due - time.monotonic()))
            if time.monotonic() >= start + seconds:
                break
            senders[n](b"x" * size)
            counts[n] += 1
            due = due + every_s if every_s else time.monotonic()

    threads = [threading.Thread(target=send, args=(n,)) for n in range(devices)]
    for thread in threads:
        thread.start()
    before, since = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    gate.wait()
    for thread in threads:
        thread.join()
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - since
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"requests": sum(counts), "cpu_s": cpu, "took_s": took}), flush=True)
    os._exit(0)  # clients of both kinds have threads that would be waited for


def sdk_device(device, ca):
    from azure.iot.device import IoTHubDeviceClient, Message
    client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=base64.b64encode(bytes(32)).decode(),
        hostname="localhost",
        device_id=device,
        server_verification_cert=pathlib.Path(ca).read_text(),
    )
    client.connect()
    return lambda payload: client.send_message(Message(payload))


def paho_device(device, ca):
    import paho.mqtt.client
    client = paho.mqtt.client.Client(client_id=device)
    client.tls_set(ca)
    client.connect("localhost", PORT)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    return lambda payload: client.publish(f"devices/{device}/messages/events/", payload, qos=1).wait_for_publish()


if __name__ == "__main__":
    kind, ca, devices, every_s, seconds, size = sys.argv[1:]
    main(kind, ca, int(devices), float(every_s), float(seconds), int(size))
