//! The scenarios that come with the program.

use super::*;
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
    assert!(count >= 3);
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
