"""A service that talks to a device through the REST service API of its hub, with nothing but the standard library.

Environment: IOTHUB_CONNECTION_STRING
Argument: the device; or --token, which prints a token for other clients and calls nobody
Output: a line of JSON for each answer
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import ssl
import sys
import time
from urllib.parse import quote, quote_plus

string = dict(part.split("=", 1) for part in os.environ["IOTHUB_CONNECTION_STRING"].split(";"))
host = string["HostName"]


def token():
    resource, expiry = quote_plus(host), int(time.time()) + 600
    signed = hmac.new(base64.b64decode(string["SharedAccessKey"]), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    signature = quote_plus(base64.b64encode(signed.digest()))
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={string['SharedAccessKeyName']}"


if sys.argv[1] == "--token":
    sys.exit(print(token()))

device = quote(sys.argv[1], safe="")
connection = http.client.HTTPSConnection(host, timeout=20, context=ssl.create_default_context())
authorization = {"Authorization": token()}


def call(method, path, body=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, dict):
        body, headers["Content-Type"] = json.dumps(body), "application/json; charset=utf-8"
    connection.request(method, f"{path}?api-version=2021-04-12", body, {**authorization, **headers})
    response = connection.getresponse()
    text = response.read()
    return {"status": response.status, "body": json.loads(text) if text else None}


def tell(what, answer):
    print(json.dumps({"call": what, **answer}), flush=True)


twin = f"/twins/{device}"
tell("get twin", call("GET", twin))
tell("patch twin", call("PATCH", twin, {"tags": {"hall": "7"}, "properties": {"desired": {"interval": 5}}}))
for name in ("echo", "reboot"):
    wanted = {"methodName": name, "responseTimeoutInSeconds": 20, "payload": {"n": [1, "zwei"]}}
    tell(f"method {name}", call("POST", f"{twin}/methods", wanted))
tell(
    "send",
    call(
        "POST",
        "/messages/devicebound",
        b"close the valve",
        iothub_to=f"/devices/{device}/messages/devicebound",
        iothub_messageid="order-1",
        iothub_correlationid="case-7",
        iothub_contenttype="text/plain",
        iothub_app_level="high & low",
    ),
)
# The device reports what it saw; nobody knows when.
until = time.monotonic() + 30
while (seen := call("GET", twin))["body"]["properties"]["reported"].get("seen") != 2 and time.monotonic() < until:
    time.sleep(0.05)
tell("get twin again", seen)
