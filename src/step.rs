//! The vocabulary of measuring: what a device is due to do, how it went, and whose fault it was.
//!
//! A *step* is one thing a device is due to do. It contains *exchanges* (one request with its answer), and opening a
//! connection goes through *phases*. Every step has four instants ([`Observation`]) and ends in exactly one [`Outcome`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::Untrusted;
use crate::time::Instant;

/// Makes an enum of names with an index and a list of all, so that tables by kind need no map.
macro_rules! names {
    ($(#[$meta:meta])* $kind:ident { $($(#[$vmeta:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $kind { $($(#[$vmeta])* #[serde(rename = $name)] $variant,)+ }

        impl $kind {
            /// Every value, in display order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// How many there are; [`Self::index`] is below it.
            pub const COUNT: usize = Self::ALL.len();

            /// Position in [`Self::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Name in metrics, files and tables.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The value of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }
    };
}

names! {
    /// One thing a device is due to do.
    StepKind {
        /// With DPS, until assigned to a hub or given up; due when the device starts.
        Register = "register",
        /// To the hub, until usable; due at the assignment, or when a reconnect is.
        Connect = "connect",
        /// One telemetry message, until acknowledged; due on the device's telemetry grid.
        Send = "send",
        /// Of the token of a hub connection, by connecting anew, until usable; due some time before the old one expires.
        Renew = "renew",
        /// The question for its twin, until the hub answered; due when the device has connected.
        TwinGet = "twin_get",
        /// A report of properties, until the hub took it; due on a grid, or when the device knows its twin.
        TwinReport = "twin_report",
        /// The answer to a direct method, until the hub confirmed it; due when the method arrives.
        MethodReply = "method_reply",
        /// A message from the cloud, until it is settled; due when it arrives.
        C2dReceive = "c2d_receive",
    }
}

names! {
    /// One request and its answer inside a step.
    Exchange {
        /// `PUT …/register` at DPS.
        DpsPut = "dps.put",
        /// The register request to DPS over MQTT.
        DpsRegister = "dps.register",
        /// The question for an operation's status: `GET …/operations/…`, or its like over MQTT.
        DpsPoll = "dps.poll",
        /// `POST …/messages/events` at the hub.
        HttpPost = "http.post",
        /// `GET …/messages/devicebound` at the hub: whether it has a message for the device.
        HttpC2dGet = "http.c2d_get",
        /// What becomes of such a message: `DELETE …/messages/devicebound/…`, or its like.
        HttpC2dSettle = "http.c2d_settle",
        /// CONNECT until CONNACK, at DPS and hub.
        MqttConnect = "mqtt.connect",
        /// SUBSCRIBE until SUBACK, at DPS and hub.
        MqttSubscribe = "mqtt.subscribe",
        /// PUBLISH of QoS 1 to the hub until PUBACK.
        MqttPublish = "mqtt.publish",
        /// The question for a twin until the answer.
        TwinGet = "twin.get",
        /// A report of properties until the answer.
        TwinReport = "twin.report",
    }
}

names! {
    /// A part of opening a connection.
    Phase {
        /// Looking up the host's addresses.
        Dns = "dns",
        /// Until the TCP connection is established: to the proxy, where there is one.
        Tcp = "tcp",
        /// The proxy's way to the host: the CONNECT exchange.
        Proxy = "proxy",
        /// The TLS handshake.
        Tls = "tls",
        /// The change to WebSocket.
        Upgrade = "upgrade",
        /// The protocol's own greeting (MQTT CONNECT, AMQP open).
        Handshake = "handshake",
    }
}

names! {
    /// The service at the other end of a connection.
    Party {
        /// The Device Provisioning Service.
        Dps = "dps",
        /// The device's IoT Hub.
        Hub = "hub",
    }
}

names! {
    /// A point in a device's life that users ask about, timed from an earlier due instant.
    Milestone {
        /// From the instant registering is due to the assignment.
        TimeToAssigned = "time_to_assigned",
        /// From the instant the device is due to start to its first acknowledged message.
        TimeToFirstTelemetry = "time_to_first_telemetry",
    }
}

names! {
    /// A span of a step's life that is kept as a histogram.
    View {
        /// `finished − due`: what a user of the service would feel.
        Response = "response",
        /// `finished − started`: what the service needed.
        Service = "service",
        /// `started − ready`: what a slow service made us queue.
        Waiting = "waiting",
        /// `ready − due`: what we ourselves added.
        Lateness = "lateness",
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The service confirmed it.
    Acknowledged,
    /// Handed over where no confirmation exists (MQTT QoS 0).
    Written,
    /// It did not work.
    Failed(Class),
    /// Sent, and no answer came: it may have worked.
    Unknown(Cause),
    /// Due, and never sent.
    NotSent(Reason),
}

names! {
    /// Why nobody knows whether a sent step worked.
    Cause {
        /// No answer within the step's deadline.
        Deadline = "no answer within the deadline",
        /// The connection ended before the answer.
        ConnectionLost = "connection lost before the answer",
        /// The hub closed the connection in order, with messages unconfirmed: over MQTT it has no other way to throttle.
        Throttle = "closed by the hub: throttled, probably",
        /// The hub closed one connection after another before it confirmed a single message: as it does when the daily
        /// quota is used up.
        Quota = "closed by the hub: out of quota, probably",
        /// The hub closed one connection after another while the device was idle or nearly: as it does when another
        /// connection has the same device id.
        Takeover = "closed by the hub: taken over, probably",
        /// The run ended, drain included, before the answer.
        RunEnded = "run ended before the answer",
        /// The run was interrupted before the answer.
        Interrupted = "interrupted before the answer",
    }
}

names! {
    /// Why a due step was never sent.
    Reason {
        /// The device's queue of waiting messages was full.
        QueueFull = "queue full",
        /// It waited for longer than its deadline.
        Deadline = "still waiting at the deadline",
        /// The device had given up for good.
        DeviceStopped = "device had given up",
        /// The run ended, drain included, before its turn.
        RunEnded = "run ended before its turn",
        /// The run was interrupted before its turn.
        Interrupted = "interrupted before its turn",
        /// The connection that it was for ended.
        Disconnected = "connection ended before its turn",
    }
}

names! {
    /// Whose a failure is.
    Owner {
        /// DPS or the hub.
        Service = "service",
        /// What lies between.
        Network = "network",
        /// The machine that generates the load.
        Machine = "this machine",
        /// What the scenario or the service was told.
        Configuration = "configuration",
    }
}

names! {
    /// What kind of failure a step ended in.
    Class {
        /// 429: over a quota. Never mixed with errors.
        Throttled = "throttled",
        /// The hub has taken all messages of its daily quota (403002). It takes none before the next UTC day.
        QuotaExceeded = "quota exceeded",
        /// 5xx.
        ServerError = "server error",
        /// DPS ended the assignment with status `failed`.
        AssignmentFailed = "assignment failed",
        /// DPS was still `assigning` at the deadline.
        NeverAssigned = "never assigned",
        /// The service took the request and gave no answer within the deadline.
        NoAnswer = "no answer",
        /// An answer that the protocol does not allow.
        BadAnswer = "unintelligible answer",
        /// 401: signature, scope or expiry of the token.
        Unauthorized = "unauthorized",
        /// 403: the enrollment or the device is disabled.
        Disabled = "disabled",
        /// 404: unknown scope, registration or device.
        NotFound = "not found",
        /// 412 to what a device did with a message from the cloud: its lock had expired (412002).
        LockLost = "lock lost",
        /// Another 4xx.
        Rejected = "rejected",
        /// DPS named a hub outside of what the scenario allows; it was not contacted.
        HubNotAllowed = "hub not allowed",
        /// The server's certificate does not chain to a trusted root.
        UntrustedCertificate = "untrusted certificate",
        /// The server's certificate is for another name, expired or otherwise invalid.
        InvalidCertificate = "invalid certificate",
        /// The TLS handshake failed otherwise.
        TlsFailed = "TLS failed",
        /// The host name has no address.
        DnsFailed = "DNS failed",
        /// Nothing listens there.
        Refused = "connection refused",
        /// The peer reset the connection.
        Reset = "connection reset",
        /// The peer closed the connection in mid-exchange.
        Closed = "connection closed",
        /// No TCP connection or TLS session within the deadline.
        ConnectTimeout = "connect timed out",
        /// No route.
        Unreachable = "unreachable",
        /// The proxy wants a user and password, or others than it was given (407).
        ProxyUnauthorized = "proxy unauthorized",
        /// The proxy does not open tunnels to that host and port.
        ProxyRefused = "proxy refused",
        /// The proxy could not reach the host, or gave an answer that HTTP does not allow.
        ProxyFailed = "proxy failed",
        /// No file descriptor was left.
        DescriptorsExhausted = "out of descriptors",
        /// No local port was left.
        PortsExhausted = "out of local ports",
        /// No memory was left.
        MemoryExhausted = "out of memory",
        /// Anything else that the operating system reports.
        OtherIo = "input/output error",
    }
}

impl Class {
    /// Whose failure it is.
    pub const fn owner(self) -> Owner {
        match self {
            Self::Throttled
            | Self::QuotaExceeded
            | Self::ServerError
            | Self::AssignmentFailed
            | Self::NeverAssigned
            | Self::NoAnswer
            | Self::BadAnswer
            | Self::LockLost => Owner::Service,
            Self::Unauthorized
            | Self::Disabled
            | Self::NotFound
            | Self::Rejected
            | Self::HubNotAllowed
            | Self::UntrustedCertificate
            | Self::InvalidCertificate
            | Self::ProxyUnauthorized
            | Self::ProxyRefused => Owner::Configuration,
            Self::TlsFailed
            | Self::DnsFailed
            | Self::Refused
            | Self::Reset
            | Self::Closed
            | Self::ConnectTimeout
            | Self::Unreachable
            | Self::ProxyFailed
            | Self::OtherIo => Owner::Network,
            Self::DescriptorsExhausted | Self::PortsExhausted | Self::MemoryExhausted => Owner::Machine,
        }
    }

    /// What a reader can do about it, as a half-sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Throttled => "start devices more slowly, or ask for a higher quota",
            Self::QuotaExceeded => "add units or take a larger tier; the quota begins anew at midnight UTC",
            Self::ServerError => "look into the service's own log at that time",
            Self::AssignmentFailed => "check the linked hubs and the allocation policy of the enrollment",
            Self::NeverAssigned => "check the allocation function, or raise `deadline.register`",
            Self::NoAnswer => "check the service, or raise the deadline of the step",
            Self::BadAnswer => "check that the host is DPS or IoT Hub and not a proxy or portal",
            Self::Unauthorized => "check the key, the id scope and this machine's clock",
            Self::Disabled => "enable the enrollment or the device",
            Self::NotFound => "check the id scope and that the enrollment exists",
            Self::LockLost => {
                "a message is locked for a minute: look for what holds up the device's requests, or for a purge"
            }
            Self::Rejected => "read the example: the service says what it dislikes",
            Self::HubNotAllowed => {
                "if devices may be sent there, add the hub to `target.allow` and confirm with --yes"
            }
            Self::UntrustedCertificate => {
                "name the authority's certificate in `target.ca_file` or SSL_CERT_FILE"
            }
            Self::InvalidCertificate => "check the host name and the certificate's names and dates",
            Self::TlsFailed => "check that the port speaks TLS 1.2 or 1.3",
            Self::DnsFailed => "check the host name and this machine's resolver",
            Self::Refused => "check host and port, and that the service is running",
            Self::Reset | Self::Closed => {
                "look for a limit, restart or idle timeout at the service or a proxy"
            }
            Self::ConnectTimeout => "check route and firewall, and whether the service's backlog overflows",
            Self::Unreachable => "check route and firewall",
            Self::ProxyUnauthorized => "check user and password in `target.proxy`",
            Self::ProxyRefused => "have the proxy allow CONNECT to that host and port",
            Self::ProxyFailed => {
                "check that the proxy speaks HTTP and can reach the host, or look into the proxy's log"
            }
            Self::DescriptorsExhausted => "raise `ulimit -n`, or run fewer devices in one process",
            Self::PortsExhausted => "run fewer devices against one address",
            Self::MemoryExhausted => "run fewer devices in one process",
            Self::OtherIo => "read the example: the operating system says what failed",
        }
    }

    /// The class of a refusal with that HTTP status, at DPS and hub alike; over MQTT DPS uses the same numbers. A hub's
    /// 403 can also mean [`Self::QuotaExceeded`]; only its body tells.
    pub const fn of_refusal(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            403 => Self::Disabled,
            404 => Self::NotFound,
            429 => Self::Throttled,
            400..=499 => Self::Rejected,
            500..=599 => Self::ServerError,
            _ => Self::BadAnswer,
        }
    }

    /// Whether trying again without a change could help.
    pub const fn is_transient(self) -> bool {
        !matches!(self.owner(), Owner::Configuration)
            && !matches!(self, Self::AssignmentFailed | Self::BadAnswer)
    }
}

/// One failure: its class and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kind, and through it owner and remedy.
    pub class: Class,
    /// What the service or the operating system said. Never holds a secret.
    pub detail: Untrusted,
    /// How long the service asked to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of `class`, told as `detail`.
    pub fn new(class: Class, detail: &str) -> Self {
        Self { class, detail: Untrusted::new(detail), retry_after: None }
    }
}

/// The record of one finished step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// What it was.
    pub kind: StepKind,
    /// When the plan wanted it.
    pub due: Instant,
    /// When our code got to it.
    pub ready: Instant,
    /// When its first byte was handed to the connection; equals `finished` if that never happened.
    pub started: Instant,
    /// When its answer was decoded, or it was given up.
    pub finished: Instant,
    /// How it ended.
    pub outcome: Outcome,
}

impl Observation {
    /// The span of this step that `view` names.
    pub fn span(&self, view: View) -> Duration {
        match view {
            View::Response => self.finished.since(self.due),
            View::Service => self.finished.since(self.started),
            View::Waiting => self.started.since(self.ready),
            View::Lateness => self.ready.since(self.due),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back_to_their_value() {
        for class in Class::ALL {
            assert_eq!(Class::from_name(class.name()), Some(*class));
            assert_eq!(Class::ALL[class.index()], *class);
        }
        for kind in StepKind::ALL {
            assert_eq!(StepKind::from_name(kind.name()), Some(*kind));
        }
    }

    #[test]
    fn response_time_is_lateness_and_waiting_and_service_together() {
        let at = Instant::from_nanos;
        let observation = Observation {
            kind: StepKind::Send,
            due: at(100),
            ready: at(110),
            started: at(150),
            finished: at(450),
            outcome: Outcome::Acknowledged,
        };
        let parts = [View::Lateness, View::Waiting, View::Service].map(|view| observation.span(view));
        assert_eq!(parts.iter().sum::<Duration>(), observation.span(View::Response));
    }

    #[test]
    fn a_wrong_key_is_not_tried_again_and_a_throttled_request_is() {
        assert!(!Class::Unauthorized.is_transient());
        assert!(Class::Throttled.is_transient());
        assert_eq!(Class::Throttled.owner(), Owner::Service);
        // It may be a long wait, but a device in the field goes on trying.
        assert!(Class::QuotaExceeded.is_transient());
    }
}
