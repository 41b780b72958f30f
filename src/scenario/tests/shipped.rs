//! The scenarios that come with the program.

use super::*;
use crate::azure::limits::DPS_REGISTRATIONS_PER_MINUTE;
use crate::plan::{Arrival, Target};
use crate::plan::{KeySource, Keys};

#[test]
fn every_shipped_scenario_loads_without_a_warning() {
    let environment = |name: &str| name.starts_with("PROVISIONING_").then(|| "test-1".to_owned());
    let mut count = 0;
    for path in schema_tests::shipped_scenarios() {
        let loaded = load(&path, &Options::default(), &environment)
            .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, None)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false, None));
        let first_lines = "#:schema ./muster.schema.json\n# Question ";
        assert!(loaded.text.starts_with(first_lines), "{}", path.display());
        assert!(loaded.text.contains("\n# Healthy "), "{}", path.display());
        count += 1;
    }
    assert_eq!(
        count, 11,
        "first-run, quickstart, ci-smoke, mixed-protocols, two-way, boot, sixty-thousand, and the four for a fleet of one's own"
    );
}

#[test]
fn the_template_for_a_dps_of_ones_own_needs_no_variable_and_stays_below_the_published_limit() {
    let asked = |name: &str| panic!("asks for {name}");
    let plan = load(&shipped("own-dps.toml"), &Options::default(), &asked).unwrap().plan;
    let Target::Azure(target) = &plan.target else { panic!("azure") };
    assert!(target.stated.is_some());
    let Arrival::Rate(rate) = &plan.populations[0].arrival else { panic!("a rate") };
    assert!(rate.per_second() * 60.0 < DPS_REGISTRATIONS_PER_MINUTE as f64);
    let Keys::Group { primary: KeySource::Environment(name), .. } = &plan.enrollments[0].keys else {
        panic!("a group")
    };
    assert_eq!(name, "GROUP_KEY");
}

#[test]
fn the_quickstart_reads_four_variables_and_none_of_them_is_the_key() {
    let asked = std::cell::RefCell::new(Vec::new());
    let environment = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        Some("test-1".to_owned())
    };
    let loaded = load(&shipped("quickstart.toml"), &Options::default(), &environment).unwrap();
    let asked = asked.into_inner();
    assert_eq!(asked, ["PROVISIONING_HOST", "PROVISIONING_IDSCOPE", "PROVISIONING_REGISTRATION_ID"]);
    let Keys::Individual { primary: KeySource::Environment(name), .. } = &loaded.plan.enrollments[0].keys
    else {
        panic!("an individual enrollment")
    };
    assert_eq!(name, "PROVISIONING_SYMMETRIC_KEY");
    let unset = load(&shipped("quickstart.toml"), &Options::default(), &|_| None).unwrap_err();
    assert_eq!(unset.counts(), (3, 0), "{}", unset.render(false, None));
    assert_eq!(id(&loaded.plan, 0, 0), "test-1");
}
