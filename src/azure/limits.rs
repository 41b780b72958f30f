//! Published quotas of DPS and IoT Hub that a run is held against.
//!
//! Sources: <https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits>,
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>; as of 2024-03.

/// Device registrations a minute of one DPS instance; adjustable by a support request.
pub const DPS_REGISTRATIONS_PER_MINUTE: u64 = 1_000;

/// Hubs that one DPS can be linked to.
pub const DPS_LINKED_HUBS: usize = 50;

/// Polls of one device's operation in [`DPS_POLL_WINDOW_SECONDS`].
pub const DPS_POLLS_PER_WINDOW: u32 = 5;

/// See [`DPS_POLLS_PER_WINDOW`].
pub const DPS_POLL_WINDOW_SECONDS: u64 = 10;
