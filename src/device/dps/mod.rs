//! Registering with DPS: one small file per protocol, and what all of them read from an answer.

use std::time::Duration;

use crate::azure::dps::{self, ErrorBody, OperationStatus, RegistrationState};
use crate::step::{Class, Exchange, Failure};
use crate::text::Untrusted;
use crate::time::{Clock, Instant, UnixTime};

pub mod https;
pub mod mqtt;

/// A device's connection to DPS, over whatever protocol.
pub enum Dps {
    /// HTTPS.
    Https(Box<https::DpsHttps>),
    /// MQTT.
    Mqtt(Box<mqtt::DpsMqtt>),
}

impl Dps {
    /// Whether another request can be made. The connection was idle since the last one, and DPS may have closed it.
    pub fn is_open(&mut self) -> bool {
        match self {
            Self::Https(dps) => dps.is_open(),
            Self::Mqtt(dps) => dps.is_open(),
        }
    }

    /// Registers.
    pub async fn register(&mut self, clock: &Clock, id_scope: &str, registration_id: &str) -> Exchanged {
        match self {
            Self::Https(dps) => dps.register(clock, id_scope, registration_id).await,
            Self::Mqtt(dps) => dps.register(clock).await,
        }
    }

    /// Asks how an operation stands.
    pub async fn poll(
        &mut self,
        clock: &Clock,
        id_scope: &str,
        registration_id: &str,
        operation: &str,
    ) -> Exchanged {
        match self {
            Self::Https(dps) => dps.poll(clock, id_scope, registration_id, operation).await,
            Self::Mqtt(dps) => dps.poll(clock, operation).await,
        }
    }

    /// What the books call the register exchange.
    pub fn register_exchange(&self) -> Exchange {
        match self {
            Self::Https(_) => Exchange::DpsPut,
            Self::Mqtt(_) => Exchange::DpsRegister,
        }
    }

    /// Does what the protocol needs between two requests; ends when nothing is left to do. Dropping the future loses
    /// nothing.
    pub async fn idle(&mut self, clock: &Clock) {
        match self {
            Self::Https(_) => {}
            Self::Mqtt(dps) => dps.idle(clock).await,
        }
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        match self {
            Self::Https(dps) => Box::pin(dps.close()).await,
            Self::Mqtt(mut dps) => dps.close().await,
        }
    }
}

/// What came of an exchange.
pub struct Exchanged {
    /// What DPS said.
    pub result: Result<Answer, Failure>,
    /// When the request was handed over and when the answer was decoded, if there was one.
    pub span: Option<(Instant, Instant)>,
}

/// What DPS says to register or to a poll.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is at it.
    Assigning {
        /// Name of the operation; an answer to a poll may lack it.
        operation: Option<String>,
        /// As asked for; `None` if absent or unintelligible.
        retry_after: Option<Duration>,
    },
    /// A hub is assigned.
    Assigned(Box<Assigned>),
}

/// What DPS assigned.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    /// Host of the hub, as the service wrote it.
    pub hub: Untrusted,
    /// The device's id there.
    pub device_id: String,
    /// Why it got this hub.
    pub substatus: Option<Untrusted>,
    /// What a custom allocation webhook returned, as JSON.
    pub payload: Option<Untrusted>,
}

/// Reads an answer: HTTP status, `Retry-After` (of whatever spelling) and body. The same rules hold for MQTT.
///
/// # Errors
/// A [`Failure`] for everything but `assigning` and `assigned`.
pub fn interpret(
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
    now: UnixTime,
) -> Result<Answer, Failure> {
    let retry_after = retry_after.and_then(|value| dps::parse_retry_after(value, now));
    if !(200..300).contains(&status) {
        return Err(Failure { retry_after, ..refusal(status, body) });
    }
    let reply: OperationStatus = serde_json::from_slice(body).map_err(|error| {
        let text = Untrusted::from_bytes(&body[..body.len().min(80)]);
        bad(&format!("{status} with a body that is no operation status ({error}): {}", text.terminal()))
    })?;
    let state = reply.registration_state.unwrap_or_default();
    match reply.status.as_deref().or(state.status.as_deref()) {
        Some(dps::status::ASSIGNING) => Ok(Answer::Assigning { operation: reply.operation_id, retry_after }),
        Some(dps::status::ASSIGNED) => assigned(state).map(|assigned| Answer::Assigned(Box::new(assigned))),
        Some(dps::status::FAILED) => Err(Failure::new(
            Class::AssignmentFailed,
            &format!(
                "errorCode {}: {}",
                state.error_code.map_or_else(|| "none".to_owned(), |code| code.to_string()),
                state.error_message.as_deref().unwrap_or("no message")
            ),
        )),
        Some("disabled") => Err(Failure::new(Class::Disabled, "the registration is disabled")),
        Some(other) => Err(bad(&format!("{status} with status {other:?}"))),
        None => Err(bad(&format!("{status} without a status"))),
    }
}

fn assigned(state: RegistrationState) -> Result<Assigned, Failure> {
    let hub =
        state.assigned_hub.filter(|hub| !hub.is_empty()).ok_or_else(|| bad("assigned, but to no hub"))?;
    let device_id =
        state.device_id.or(state.registration_id).ok_or_else(|| bad("assigned, but with no device id"))?;
    crate::azure::registration::check_device_id(&device_id)
        .map_err(|error| bad(&format!("assigned with an unusable device id: {error}")))?;
    Ok(Assigned {
        hub: Untrusted::new(&hub),
        device_id,
        substatus: state.substatus.map(|text| Untrusted::new(&text)),
        payload: state.payload.map(|value| Untrusted::new(&value.to_string())),
    })
}

/// The failure that an error status and its body stand for.
fn refusal(status: u16, body: &[u8]) -> Failure {
    let class = Class::of_refusal(status);
    let said = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => format!("{status}, errorCode {}: {}", error.error_code, error.message),
        Err(_) if body.is_empty() => status.to_string(),
        Err(_) => format!("{status}: {}", Untrusted::from_bytes(&body[..body.len().min(120)]).terminal()),
    };
    Failure::new(class, &said)
}

fn bad(detail: &str) -> Failure {
    Failure::new(Class::BadAnswer, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_nanos(1_700_000_000_000_000_000);

    fn class(status: u16, body: &str) -> Class {
        interpret(status, None, body.as_bytes(), NOW).expect_err(body).class
    }

    #[test]
    fn an_answer_of_the_service_is_read() {
        let body = br#"{"operationId":"5.1.2","status":"assigning"}"#;
        assert_eq!(
            interpret(202, Some("3"), body, NOW),
            Ok(Answer::Assigning {
                operation: Some("5.1.2".into()),
                retry_after: Some(Duration::from_secs(3))
            })
        );
        let body = br#"{"operationId":"5.1.2","status":"assigned","registrationState":{"registrationId":"r",
            "assignedHub":"h.net","deviceId":"d","status":"assigned","substatus":"initialAssignment"}}"#;
        let Ok(Answer::Assigned(assigned)) = interpret(200, None, body, NOW) else { panic!("assigned") };
        assert_eq!((assigned.hub.raw(), assigned.device_id.as_str()), ("h.net", "d"));
        assert_eq!(assigned.payload, None);
    }

    #[test]
    fn each_error_status_has_its_class_and_keeps_the_hint() {
        for (status, expected) in [
            (400, Class::Rejected),
            (401, Class::Unauthorized),
            (403, Class::Disabled),
            (404, Class::NotFound),
            (409, Class::Rejected),
            (429, Class::Throttled),
            (500, Class::ServerError),
            (503, Class::ServerError),
            (302, Class::BadAnswer),
            (100, Class::BadAnswer),
        ] {
            assert_eq!(class(status, ""), expected, "{status}");
        }
        let failure = interpret(429, Some("9"), b"{}", NOW).expect_err("throttled");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(9)));
        let failure = interpret(401, None, br#"{"errorCode":401002,"message":"Unauthorized"}"#, NOW)
            .expect_err("refused");
        assert_eq!(failure.detail.raw(), "401, errorCode 401002: Unauthorized");
    }

    #[test]
    fn nonsense_is_an_unintelligible_answer_and_never_a_panic() {
        for body in [
            "",
            "<html>",
            "null",
            "[]",
            "{}",
            r#"{"status":"unassigned"}"#,
            r#"{"status":7}"#,
            r#"{"status":"assigned"}"#,
            r#"{"status":"assigned","registrationState":{"assignedHub":""}}"#,
            r#"{"status":"assigned","registrationState":{"assignedHub":"h"}}"#,
            r#"{"status":"assigned","registrationState":{"assignedHub":"h","deviceId":"a b"}}"#,
        ] {
            assert_eq!(class(200, body), Class::BadAnswer, "{body}");
        }
        let failed =
            r#"{"status":"failed","registrationState":{"errorCode":400208,"errorMessage":"no hub"}}"#;
        assert_eq!(class(200, failed), Class::AssignmentFailed);
    }
}
