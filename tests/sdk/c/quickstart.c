// A device that knows nothing of emulators: what Azure's sample for symmetric keys does, with Microsoft's C SDK.
//
// Environment: PROVISIONING_HOST, PROVISIONING_IDSCOPE, PROVISIONING_REGISTRATION_ID, PROVISIONING_SYMMETRIC_KEY
// Options: --websockets talks MQTT over WebSocket (443) and not over TLS alone (8883); through the HTTP proxy of mqtt_proxy, as
//     the Python SDK does, if that is in the environment: http://HOST:PORT
//
// SSL_CERT_FILE is OpenSSL's own variable, with which the SDK is built on Linux; with another TLS library, give the certificate
// as OPTION_TRUSTED_CERT to both clients.

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "azure_c_shared_utility/http_proxy_io.h"
#include "azure_c_shared_utility/shared_util_options.h"
#include "azure_c_shared_utility/threadapi.h"
#include "azure_prov_client/prov_device_ll_client.h"
#include "azure_prov_client/prov_security_factory.h"
#include "azure_prov_client/prov_transport_mqtt_client.h"
#include "azure_prov_client/prov_transport_mqtt_ws_client.h"
#include "iothub.h"
#include "iothub_client_options.h"
#include "iothub_device_client_ll.h"
#include "iothub_message.h"
#include "iothubtransportmqtt.h"
#include "iothubtransportmqtt_websockets.h"
#if __has_include("c_logging/logger.h")
#include "c_logging/logger.h"
#define HAS_LOGGER
#endif

#define MESSAGES 10
#define PATIENCE_MS 60000

struct registration {
    bool ended;
    char hub[256], device[256];
};

static void registered(PROV_DEVICE_RESULT result, const char* hub, const char* device, void* context)
{
    struct registration* registration = context;
    registration->ended = true;
    if (result == PROV_DEVICE_RESULT_OK) {
        snprintf(registration->hub, sizeof registration->hub, "%s", hub);
        snprintf(registration->device, sizeof registration->device, "%s", device);
    }
}

static void confirmed(IOTHUB_CLIENT_CONFIRMATION_RESULT result, void* context)
{
    if (result == IOTHUB_CLIENT_CONFIRMATION_OK)
        ++*(int*)context;
}

static const char* variable(const char* name)
{
    const char* value = getenv(name);
    if (value == NULL) {
        fprintf(stderr, "%s is not set\n", name);
        exit(2);
    }
    return value;
}

int main(int count, char** arguments)
{
    bool websockets = count > 1 && strcmp(arguments[1], "--websockets") == 0;
    const char* host = variable("PROVISIONING_HOST");
    const char* id_scope = variable("PROVISIONING_IDSCOPE");
    const char* id = variable("PROVISIONING_REGISTRATION_ID");
    const char* key = variable("PROVISIONING_SYMMETRIC_KEY");

    char proxy_host[64];
    HTTP_PROXY_OPTIONS proxy = {proxy_host, 0, NULL, NULL};
    const char* url = getenv("mqtt_proxy");
    bool is_behind = url != NULL && sscanf(url, "http://%63[^:]:%d", proxy_host, &proxy.port) == 2;

#ifdef HAS_LOGGER
    // SDKs of 2026 abort at their first error otherwise, a wrong key among them.
    logger_init();
#endif
    IoTHub_Init();
    prov_dev_security_init(SECURE_DEVICE_TYPE_SYMMETRIC_KEY);
    prov_dev_set_symmetric_key_info(id, key);

    struct registration registration = {false, "", ""};
    PROV_DEVICE_LL_HANDLE provisioning =
        Prov_Device_LL_Create(host, id_scope, websockets ? Prov_Device_MQTT_WS_Protocol : Prov_Device_MQTT_Protocol);
    if (provisioning == NULL)
        return 3;
    if (is_behind)
        Prov_Device_LL_SetOption(provisioning, OPTION_HTTP_PROXY, &proxy);
    if (Prov_Device_LL_Register_Device(provisioning, registered, &registration, NULL, NULL) != PROV_DEVICE_RESULT_OK)
        return 3;
    for (int waited = 0; !registration.ended && waited < PATIENCE_MS; waited += 10) {
        Prov_Device_LL_DoWork(provisioning);
        ThreadAPI_Sleep(10);
    }
    Prov_Device_LL_Destroy(provisioning);
    if (registration.hub[0] == '\0') {
        fprintf(stderr, "the registration failed\n");
        return 1;
    }
    printf("assigned %s at %s\n", registration.device, registration.hub);

    IOTHUB_DEVICE_CLIENT_LL_HANDLE device = IoTHubDeviceClient_LL_CreateFromDeviceAuth(
        registration.hub, registration.device, websockets ? MQTT_WebSocket_Protocol : MQTT_Protocol);
    if (device == NULL) {
        fprintf(stderr, "the SDK takes no hub of that name\n");
        return 1;
    }
    if (is_behind)
        IoTHubDeviceClient_LL_SetOption(device, OPTION_HTTP_PROXY, &proxy);
    int done = 0;
    for (int n = 1; n <= MESSAGES; n++) {
        char text[64];
        snprintf(text, sizeof text, "test wind speed %d", n);
        IOTHUB_MESSAGE_HANDLE message = IoTHubMessage_CreateFromString(text);
        IoTHubDeviceClient_LL_SendEventAsync(device, message, confirmed, &done);
        IoTHubMessage_Destroy(message);
    }
    for (int waited = 0; done < MESSAGES && waited < PATIENCE_MS; waited += 10) {
        IoTHubDeviceClient_LL_DoWork(device);
        ThreadAPI_Sleep(10);
    }
    IoTHubDeviceClient_LL_Destroy(device);
    prov_dev_security_deinit();
    IoTHub_Deinit();
    printf("confirmed %d messages\n", done);
    return done == MESSAGES ? 0 : 1;
}
