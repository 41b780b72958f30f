#!/usr/bin/env python3
"""A client that shares no code with muster: registers with `muster emulate` and sends a message.

Usage: python3 tests/foreign_client.py target/release/muster
Needs nothing but Python's standard library. Ends with 0 if the emulator behaves as the services do.
"""

import base64
import hashlib
import hmac
import http.client
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse


def token(key, resource, policy=None):
    """A shared access signature, as Azure's documentation describes it."""
    sr = urllib.parse.quote(resource, safe="")
    expiry = str(int(time.time()) + 600)
    mac = hmac.new(base64.b64decode(key), f"{sr}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = urllib.parse.quote(base64.b64encode(mac), safe="")
    text = f"SharedAccessSignature sr={sr}&sig={signature}&se={expiry}"
    return text + (f"&skn={policy}" if policy else "")


def derive(group_key, registration_id):
    mac = hmac.new(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256).digest()
    return base64.b64encode(mac).decode()


def call(connection, method, path, authorization, body=None, headers=None):
    headers = {"Authorization": authorization, "Content-Type": "application/json; charset=utf-8", **(headers or {})}
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read()


def register(dps, scope, registration_id, key):
    resource = f"{scope}/registrations/{registration_id}"
    authorization = token(key, resource, "registration")
    body = json.dumps({"registrationId": registration_id})
    path = f"/{resource}/register?api-version=2019-03-31"
    status, headers, reply = call(dps, "PUT", path, authorization, body)
    while status == 202:
        operation = json.loads(reply)["operationId"]
        time.sleep(int(headers["Retry-After"]))
        path = f"/{resource}/operations/{operation}?api-version=2019-03-31"
        status, headers, reply = call(dps, "GET", path, authorization)
    return status, json.loads(reply)


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "emulate", "--dir", folder, "--port", "0", "--group", "plant"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            facts = {}
            for line in server.stdout:
                name, _, value = line.strip().partition("  ")
                facts[name.strip()] = value.strip()
                if name.strip() == "ready":
                    break
            context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
            group_key = pathlib.Path(folder, "plant.key").read_text().strip()
            host, _, port = facts["DPS"].partition(":")
            dps = http.client.HTTPSConnection(host, int(port), context=context)
            scope = facts["id scope"]

            key = derive(group_key, "foreign-1")
            status, result = register(dps, scope, "foreign-1", key)
            assert status == 200, (status, result)
            state = result["registrationState"]
            assert state["substatus"] == "initialAssignment", state
            print("registered:", state["deviceId"], "at", state["assignedHub"])

            status, result = register(dps, scope, "foreign-1", derive(group_key, "foreign-2"))
            assert status == 401 and result["errorCode"] // 1000 == 401, (status, result)
            print("wrong key refused:", result["message"])

            hub_host, _, hub_port = state["assignedHub"].partition(":")
            hub = http.client.HTTPSConnection(hub_host, int(hub_port), context=context)
            authorization = token(key, f"{state['assignedHub']}/devices/foreign-1")
            path = "/devices/foreign-1/messages/events?api-version=2021-04-12"
            status, _, reply = call(hub, "POST", path, authorization, '{"wind": 9.5}')
            assert status == 204, (status, reply)
            status, _, reply = call(hub, "POST", path, authorization.replace("sig=", "sig=AAAA"), "{}")
            assert status == 401, (status, reply)
            print("message accepted, forged one refused")
        finally:
            server.terminate()
            server.wait(timeout=20)


if __name__ == "__main__":
    main()
