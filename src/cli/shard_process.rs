//! The hidden command by which the program carries out one shard of `run --processes`.

use super::{exit, program};
use crate::plan::Shard;
use crate::run::coordinate::Start;
use crate::run::{self, processes, tell};
use crate::scenario;

/// Does what standard input says, and tells the outcome on standard output.
pub(super) fn run() -> u8 {
    let (job, input) = match processes::read_job() {
        Ok(read) => read,
        Err(error) => {
            tell(format_args!("error: this command is for `muster run --processes`: {error}"));
            return exit::USAGE;
        }
    };
    match carry_out(job, input) {
        Ok(()) => {
            processes::tell_done();
            exit::PASS
        }
        Err((text, code)) => {
            processes::tell_failed(text, code);
            code
        }
    }
}

fn carry_out(mut job: processes::Job, input: processes::Input) -> Result<(), (String, u8)> {
    let environment = |name: &str| std::env::var(name).ok();
    let options =
        scenario::Options { sets: job.sets.clone(), seed: Some(job.seed), run_id: Some(job.run_id.clone()) };
    let loaded = scenario::load(&job.scenario, &options, &environment);
    let mut loaded = loaded.map_err(|told| (told.render(false, None).trim_end().to_owned(), exit::USAGE))?;
    let shard = Shard::new(job.index.into(), job.count.into());
    loaded.plan.shard = shard.map_err(|error| (error.to_string(), exit::USAGE))?;
    let program = program();
    let program =
        program.map_err(|error| (format!("cannot find this program's own path: {error}"), exit::FAILED))?;
    let options = run::Options {
        program,
        threads: job.threads,
        yes: job.yes,
        output: job.folder.clone(),
        environment: &environment,
        stamps: false,
        reconcile: job.reconcile,
        witness: None,
        starting: None,
        values_sha256: run::values_sha256(&loaded.resolved),
        start: Start::Told,
        processes: job.count as usize,
    };
    let done = processes::execute_shard(loaded.plan, &loaded.text, &options, &mut job, input);
    done.map(drop).map_err(|error| (error.to_string(), super::run::code(&error)))
}
