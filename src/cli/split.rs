//! Flags that split a run into shards, of `run` and `check`.

use std::str::FromStr;
use std::time::Duration;

use crate::plan::Shard;
use crate::time::{Clock, UnixTime};
use crate::units::parse_duration;

/// Which part of a run is meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Split {
    /// Carry out shard I of N only, counted from 0; auto: the one that Kubernetes (JOB_COMPLETION_INDEX of an Indexed Job,
    /// with --shards) or Slurm (SLURM_ARRAY_TASK_ID, _COUNT, _MIN of a job array) names in the environment
    #[arg(long, value_name = "I/N", env = "MUSTER_SHARD")]
    shard: Option<Chosen>,

    /// How many shards there are, for --shard auto, which it means if that is not given
    #[arg(long, value_name = "N")]
    shards: Option<u64>,
}

/// What `--shard` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Auto,
    Of(Shard),
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => {
                text.parse().map(Self::Of).map_err(|error: crate::plan::shard::ShardError| error.to_string())
            }
        }
    }
}

/// A shard, and the id of its run if whoever starts its shards gives one to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) shard: Shard,
    pub(super) run_id: Option<String>,
}

impl Split {
    /// The shard that is meant. The environment is asked only for what `--shard auto` or `--shards` leave open.
    ///
    /// # Errors
    /// A text for people: what is missing or contradicts itself.
    pub(super) fn part(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Part, String> {
        let part = |shard| Part { shard, run_id: None };
        match (self.shard, self.shards) {
            (None, None) => Ok(part(Shard::WHOLE)),
            (Some(Chosen::Of(shard)), None) => Ok(part(shard)),
            (Some(Chosen::Of(shard)), Some(count)) if count == u64::from(shard.count()) => Ok(part(shard)),
            (Some(Chosen::Of(shard)), Some(count)) => {
                Err(format!("--shard {shard} and --shards {count} contradict each other; give one of them"))
            }
            (None | Some(Chosen::Auto), shards) => from_environment(shards, environment),
        }
    }
}

const KUBERNETES: &str = "JOB_COMPLETION_INDEX";
const SLURM: &str = "SLURM_ARRAY_TASK_ID";

fn from_environment(
    shards: Option<u64>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Part, String> {
    let number = |name: &str| {
        let Some(text) = environment(name) else { return Ok(None) };
        let number =
            text.parse::<u64>().map_err(|_| format!("the environment variable {name} is no whole number"));
        number.map(Some)
    };
    match (number(KUBERNETES)?, number(SLURM)?) {
        (Some(_), Some(_)) => {
            Err(format!("{KUBERNETES} and {SLURM} are both set; say which shard is meant, with --shard I/N"))
        }
        (None, None) => Err(format!(
            "which shard this is, nothing says: neither {KUBERNETES} (an Indexed Job of Kubernetes) nor {SLURM} (a job \
             array of Slurm) is set; give --shard I/N"
        )),
        (Some(index), None) => {
            let count = shards.ok_or_else(|| {
                format!("{KUBERNETES} says which shard this is, and nothing of how many; add --shards N, the Job's completions")
            })?;
            let shard = Shard::new(index, count).map_err(|error| format!("{KUBERNETES}: {error}"))?;
            Ok(Part { shard, run_id: None })
        }
        (None, Some(task)) => {
            let needed = |name: &str| {
                number(name)?.ok_or_else(|| format!("{SLURM} is set and {name} is not; give --shard I/N"))
            };
            let (count, first) = (needed("SLURM_ARRAY_TASK_COUNT")?, needed("SLURM_ARRAY_TASK_MIN")?);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let last = first.saturating_add(step.saturating_mul(count.saturating_sub(1)));
            let is_range = number("SLURM_ARRAY_TASK_MAX")?.is_none_or(|most| most == last)
                && task >= first
                && (task - first).is_multiple_of(step);
            if !is_range || shards.is_some_and(|shards| shards != count) {
                return Err(format!(
                    "the job array has {count} tasks from {first} on, which are not the shards of one run; submit a range \
                     without gaps (--array=0-3), or give --shard I/N for a part of it"
                ));
            }
            let shard =
                Shard::new((task - first) / step, count).map_err(|error| format!("{SLURM}: {error}"))?;
            // The same for all tasks of an array, and another for each array.
            let run_id = number("SLURM_ARRAY_JOB_ID")?.map(|job| format!("{:08x}", job as u32));
            Ok(Part { shard, run_id })
        }
    }
}

/// When a run is to begin: what `--start-at` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartAt {
    /// At this time.
    Time(UnixTime),
    /// So long after the program was started.
    In(Duration),
}

impl FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "write a time with its offset, 2026-01-31T12:00:00Z, or \"in 30s\"";
        match text.strip_prefix("in ") {
            Some(span) => {
                parse_duration(span.trim()).map(Self::In).map_err(|error| format!("{error}; {shape}"))
            }
            None => UnixTime::parse_rfc3339(text).map(Self::Time).ok_or_else(|| shape.to_owned()),
        }
    }
}

impl StartAt {
    /// The time itself.
    ///
    /// # Errors
    /// A text for people if it has passed.
    pub(super) fn time(self) -> Result<UnixTime, String> {
        let now = Clock::machine().wall();
        match self {
            Self::In(span) => Ok(now + span),
            Self::Time(time) if time > now => Ok(time),
            Self::Time(time) => Err(format!(
                "--start-at {} is in the past: it is {} here; give a time that is yet to come",
                time.to_rfc3339(0),
                now.to_rfc3339(0)
            )),
        }
    }

    /// The time, if all shards that are given the same text begin then.
    pub(super) const fn common(self) -> Option<UnixTime> {
        match self {
            Self::Time(time) => Some(time),
            Self::In(_) => None,
        }
    }
}

/// Reads the id of a run: eight hexadecimal digits.
pub(super) fn run_id(text: &str) -> Result<String, String> {
    if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("give eight hexadecimal digits, for example 0a1b2c3d".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(shard: Option<&str>, shards: Option<u64>, variables: &[(&str, &str)]) -> Result<Part, String> {
        let shard = shard.map(|text| text.parse().expect("a shard"));
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Split { shard, shards }.part(&lookup)
    }

    #[test]
    fn the_environment_says_nothing_unless_it_is_asked() {
        let all = [(KUBERNETES, "3"), (SLURM, "7")];
        assert_eq!(part(None, None, &all).expect("the whole").shard, Shard::WHOLE);
        assert_eq!(part(Some("1/2"), None, &all).expect("a shard").shard.to_string(), "1/2");
        assert!(part(Some("auto"), Some(9), &all).expect_err("two answers").contains("both set"));
        assert!(part(Some("auto"), None, &[]).expect_err("no answer").contains("neither"));
        assert!(part(Some("1/2"), Some(3), &[]).expect_err("two answers").contains("contradict"));
    }

    #[test]
    fn an_indexed_job_names_its_shard_from_zero_and_the_flag_how_many() {
        let job = |index| [(KUBERNETES, index)];
        assert_eq!(part(None, Some(4), &job("3")).expect("a shard").shard.to_string(), "3/4");
        assert_eq!(part(Some("auto"), Some(4), &job("0")).expect("a shard").shard.to_string(), "0/4");
        for (shards, index, told) in [
            (None, "0", "add --shards N"),
            (Some(4), "4", "the last is 3/4"),
            (Some(4), "x", "no whole number"),
        ] {
            let error = part(Some("auto"), shards, &job(index)).expect_err(told);
            assert!(error.contains(told) && error.contains(KUBERNETES), "{error}");
        }
    }

    #[test]
    fn a_job_array_of_slurm_names_its_shard_however_it_counts() {
        let array = |task, first, last, step| {
            [
                (SLURM, task),
                ("SLURM_ARRAY_TASK_COUNT", "4"),
                ("SLURM_ARRAY_TASK_MIN", first),
                ("SLURM_ARRAY_TASK_MAX", last),
                ("SLURM_ARRAY_TASK_STEP", step),
                ("SLURM_ARRAY_JOB_ID", "4711"),
            ]
        };
        for (variables, expected) in [
            (array("0", "0", "3", "1"), "0/4"),
            (array("4", "1", "4", "1"), "3/4"),
            (array("14", "10", "16", "2"), "2/4"),
        ] {
            let part = part(Some("auto"), None, &variables).expect("a shard");
            assert_eq!(part.shard.to_string(), expected);
            assert_eq!(part.run_id.as_deref(), Some("00001267"));
        }
        // 1,3,5,6 is no range.
        assert!(
            part(Some("auto"), None, &array("6", "1", "6", "1")).expect_err("gaps").contains("without gaps")
        );
        assert!(part(None, Some(8), &array("1", "0", "3", "1")).expect_err("a part").contains("4 tasks"));
    }

    #[test]
    fn a_start_is_a_time_or_a_while_from_now() {
        assert_eq!("in 30s".parse(), Ok(StartAt::In(Duration::from_secs(30))));
        let time: StartAt = "2026-01-31T13:00:00+01:00".parse().expect("a time");
        assert_eq!(time.common().expect("a time").to_rfc3339(0), "2026-01-31T12:00:00Z");
        assert!(time.time().expect_err("it has passed").contains("is in the past"));
        let soon: StartAt = "in 1h".parse().expect("a while");
        assert!(soon.time().expect("to come") > Clock::machine().wall());
        for wrong in ["noon", "30s", "in soon", "2026-01-31 12:00", "2026-01-31T12:00:00", ""] {
            assert!(wrong.parse::<StartAt>().expect_err(wrong).contains("in 30s"), "{wrong}");
        }
        assert_eq!(run_id("0A1B2C3D"), Ok("0a1b2c3d".to_owned()));
        assert!(run_id("run-1").is_err() && run_id("0a1b2c3").is_err());
    }
}
