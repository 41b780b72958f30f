//! The files that grow while a run goes: `timeline.csv`, a row a second, and `latency.hlog`, a histogram a second.
//!
//! `timeline.csv` has for each kind of step how many became due and how they ended, how many are open, and quantiles of
//! the response times of those that were acknowledged in that second. `latency.hlog` is an HdrHistogram interval log
//! (format 1.3) with a tag for each kind of step, which other HdrHistogram tools read: response times of acknowledged steps
//! in microseconds at 2 digits, all populations and the warm-up included.
//!
//! Rows are flushed as they are written, so that a run that is killed leaves what it knew.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::histogram::encode;
use super::store::StoreError;
use crate::record::{Interval, IntervalStep};
use crate::step::{Class, StepKind};
use crate::time::UnixTime;

/// Name of the table in a run's folder.
pub const TIMELINE: &str = "timeline.csv";

/// Name of the histogram log in a run's folder.
pub const LATENCY_LOG: &str = "latency.hlog";

/// The growing files of one run.
#[derive(Debug)]
pub struct Growing {
    timeline: (PathBuf, BufWriter<File>),
    log: (PathBuf, BufWriter<File>),
    started: UnixTime,
    connected: i64,
    /// Steps that became due and have no outcome yet, by kind.
    open: [i64; StepKind::COUNT],
    /// Nothing more is written after this.
    trouble: Option<StoreError>,
}

impl Growing {
    /// Makes the files in `folder`, with their heads.
    ///
    /// * `started`: wall time of the run clock's zero
    ///
    /// # Errors
    /// [`StoreError`] when a file is there already or cannot be written.
    pub fn create(folder: &Path, started: UnixTime) -> Result<Self, StoreError> {
        let mut files = Self {
            timeline: open(folder.join(TIMELINE))?,
            log: open(folder.join(LATENCY_LOG))?,
            started,
            connected: 0,
            open: [0; StepKind::COUNT],
            trouble: None,
        };
        append(&mut files.timeline, &head())?;
        let seconds = started.nanos() as f64 / 1e9;
        let log = format!(
            "#[Histogram log format version 1.3]\n\
             #[StartTime: {seconds:.3} (seconds since epoch), {}]\n\
             #[Response times of acknowledged steps in microseconds; Interval_Max in milliseconds]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
            started.to_rfc3339(3)
        );
        append(&mut files.log, &log)?;
        Ok(files)
    }

    /// Adds the second that ended at `second` of the run clock (1 for the first). A file that cannot be written is told by
    /// [`Self::finish`]; the run goes on.
    pub fn second(&mut self, second: u64, interval: &Interval) {
        self.span(second, 1, interval);
    }

    /// The same for an interval of `width_s` seconds that ended at `second`.
    pub fn span(&mut self, second: u64, width_s: u64, interval: &Interval) {
        if self.trouble.is_some() {
            return;
        }
        let total = interval.total();
        self.connected += total.connected_change;
        for (open, step) in self.open.iter_mut().zip(&total.steps) {
            *open += step.counts.unaccounted();
        }
        let end =
            UnixTime::from_nanos(self.started.nanos().saturating_add(second.saturating_mul(1_000_000_000)));
        let mut row =
            format!("{second},{},{},{},{}", end.to_rfc3339(0), total.started, total.finished, self.connected);
        let mut failed: Vec<(Class, u64)> = Vec::new();
        for ((kind, step), open) in StepKind::ALL.iter().zip(&total.steps).zip(self.open) {
            row.push_str(&cells(step, open));
            for class in Class::ALL {
                let count = step.counts.failed_with(*class) + step.counts.retried[class.index()];
                match failed.iter_mut().find(|(known, _)| known == class) {
                    Some((_, sum)) => *sum += count,
                    None if count > 0 => failed.push((*class, count)),
                    None => {}
                }
            }
            if let Some(histogram) = step.response.to_histogram() {
                let line = format!(
                    "Tag={},{}.000,{width_s}.000,{:.3},{}\n",
                    kind.name(),
                    second.saturating_sub(width_s),
                    histogram.max() as f64 / 1e3,
                    encode(&histogram)
                );
                if let Err(error) = append(&mut self.log, &line) {
                    self.trouble = Some(error);
                    return;
                }
            }
        }
        let failed: Vec<String> =
            failed.iter().map(|(class, count)| format!("{}: {count}", class.name())).collect();
        row.push_str(&format!(",{}\n", failed.join("; ")));
        if let Err(error) = append(&mut self.timeline, &row) {
            self.trouble = Some(error);
        }
    }

    /// Ends the files.
    ///
    /// # Errors
    /// [`StoreError`] of the first row that could not be written: what is there is incomplete.
    pub fn finish(mut self) -> Result<(), StoreError> {
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        for (path, file) in [&mut self.timeline, &mut self.log] {
            let synced = file.flush().and_then(|()| file.get_ref().sync_all());
            synced.map_err(|source| StoreError::io(path, "write the file", source))?;
        }
        Ok(())
    }
}

fn open(path: PathBuf) -> Result<(PathBuf, BufWriter<File>), StoreError> {
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => Ok((path, BufWriter::new(file))),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(StoreError::Exists { path }),
        Err(source) => Err(StoreError::io(&path, "make the file", source)),
    }
}

fn append((path, file): &mut (PathBuf, BufWriter<File>), text: &str) -> Result<(), StoreError> {
    let written = file.write_all(text.as_bytes()).and_then(|()| file.flush());
    written.map_err(|source| StoreError::io(path, "write the file", source))
}

/// Columns of each kind of step.
const COLUMNS: [&str; 11] = [
    "due",
    "acknowledged",
    "written",
    "failed",
    "throttled",
    "unknown",
    "not_sent",
    "open",
    "p50_ms",
    "p99_ms",
    "lateness_max_ms",
];

fn head() -> String {
    let mut head = "second,time,devices_started,devices_finished,devices_connected".to_owned();
    for kind in StepKind::ALL {
        for column in COLUMNS {
            head.push_str(&format!(",{}_{column}", kind.name()));
        }
    }
    head.push_str(",failed_attempts\n");
    head
}

/// One kind's cells of a row, each with a comma before it; quantiles are empty where nothing was acknowledged.
fn cells(step: &IntervalStep, open: i64) -> String {
    let counts = &step.counts;
    let throttled = counts.failed_with(Class::Throttled) + counts.retried[Class::Throttled.index()];
    let millis = |duration: Duration| format!("{:.3}", duration.as_secs_f64() * 1e3);
    let quantile = |q| step.response.quantile(q).map(millis).unwrap_or_default();
    format!(
        ",{},{},{},{},{throttled},{},{},{open},{},{},{}",
        counts.due,
        counts.acknowledged,
        counts.written,
        counts.failed_total(),
        counts.unknown_total(),
        counts.not_sent_total(),
        quantile(0.5),
        quantile(0.99),
        millis(step.lateness_max)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples::{Story, recorded};

    fn files() -> (tempfile::TempDir, Growing) {
        let folder = tempfile::tempdir().expect("a folder");
        let started = UnixTime::from_nanos(1_700_000_000_000_000_000);
        let files = Growing::create(folder.path(), started).expect("a folder that may be written");
        (folder, files)
    }

    #[test]
    fn a_second_is_a_row_and_a_histogram_for_each_kind_of_step() {
        let (folder, mut files) = files();
        let (record, series) = recorded(Story::Failing);
        for (second, interval) in series.intervals().iter().enumerate() {
            files.second(second as u64 + 1, interval);
        }
        files.finish().expect("written");
        let table = std::fs::read_to_string(folder.path().join(TIMELINE)).expect("a table");
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        let names = reader.headers().expect("a head").clone();
        let column = |name: &str| names.iter().position(|column| column == name).expect(name);
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len(), series.intervals().len());
        let sum =
            |name: &str| rows.iter().map(|row| row[column(name)].parse::<u64>().expect(name)).sum::<u64>();
        let total = record.total();
        let send = &total.step(StepKind::Send).all;
        assert_eq!((sum("send_due"), sum("send_acknowledged")), (send.due, send.acknowledged));
        assert_eq!(
            sum("register_throttled"),
            total.step(StepKind::Register).all.retried[Class::Throttled.index()]
        );
        assert_eq!(&rows.last().expect("a row")[column("send_open")], "0", "every step has ended");
        assert_eq!(&rows[0][column("time")], "2023-11-14T22:13:21Z");
        assert!(
            rows[0][column("failed_attempts")].contains("throttled: 100"),
            "{}",
            &rows[0][column("failed_attempts")]
        );
    }

    #[test]
    fn another_reader_finds_the_same_counts_in_the_log() {
        use hdrhistogram::serialization::Deserializer;
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

        let (folder, mut files) = files();
        let (record, series) = recorded(Story::Healthy);
        for (second, interval) in series.intervals().iter().enumerate() {
            files.second(second as u64 + 1, interval);
        }
        files.finish().expect("written");
        let log = std::fs::read(folder.path().join(LATENCY_LOG)).expect("a log");
        let mut counts = std::collections::BTreeMap::new();
        for entry in IntervalLogIterator::new(&log) {
            let LogEntry::Interval(interval) = entry.expect("a legal log") else { continue };
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )
            .expect("base64");
            let histogram: hdrhistogram::Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
            let tag = interval.tag().expect("a tag").as_str().to_owned();
            *counts.entry(tag).or_insert(0) += histogram.len();
        }
        let total = record.total();
        for kind in StepKind::ALL {
            let expected = total.step(*kind).all.acknowledged;
            assert_eq!(counts.get(kind.name()).copied().unwrap_or(0), expected, "{}", kind.name());
        }
    }

    #[test]
    fn files_that_are_there_are_not_overwritten() {
        let (folder, _files) = files();
        let again = Growing::create(folder.path(), UnixTime::from_nanos(0));
        assert!(matches!(again, Err(StoreError::Exists { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_at_the_end_and_stops_nothing() {
        let (folder, mut files) = files();
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a device");
        files.timeline.1 = BufWriter::new(full);
        let (_, series) = recorded(Story::Healthy);
        files.second(1, &series.intervals()[0]);
        files.second(2, &series.intervals()[0]);
        let told = files.finish().expect_err("a full disk").to_string();
        assert!(told.contains("timeline.csv") && told.contains("free some space"), "{told}");
        drop(folder);
    }
}
