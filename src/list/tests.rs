//! Lists as people write them, and as they do not.

use super::*;

const KEY: &str = "c2l4dGVlbi1ieXRlcy1vay4=";

fn checked(text: &[u8], mode: u32) -> (tempfile::TempDir, Result<DeviceList, String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("devices.csv");
    std::fs::write(&path, text).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let shown = |errors: Vec<ListError>| {
        let lines: Vec<String> = errors.iter().map(ListError::to_string).collect();
        lines.join("\n").replace(&format!("{}/", folder.path().display()), "")
    };
    let list = DeviceList::check(&path).map_err(shown);
    (folder, list)
}

fn rows(text: &str) -> Vec<Row> {
    let (_folder, list) = checked(text.as_bytes(), 0o600);
    let list = list.expect("a list");
    let rows: Vec<Row> = list.rows().expect("rows").map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len() as u64, list.len());
    rows
}

#[test]
fn rows_are_read_whatever_the_spelling_of_the_file() {
    let plain = rows(&format!("registration_id,key,device_id\na-1,{KEY},roof(1)\nb-2,{KEY},\n"));
    assert_eq!(plain[0].device_id.as_deref(), Some("roof(1)"));
    assert_eq!(plain[0].key.as_ref().and_then(Secret::expose_text), Some(KEY));
    assert_eq!((plain[1].registration_id.as_str(), &plain[1].device_id), ("b-2", &None));
    for text in [
        format!(
            "\u{feff}registrationId;Primary Key;DEVICE-ID;site\r\na-1;{KEY};roof(1);north\r\nb-2;\"{KEY}\";;\"x\r\ny\"\r\n"
        ),
        format!("site,device_id,registration_id,key\n\n\"a, b\",roof(1), a-1 ,{KEY}\n,,b-2,{KEY}"),
    ] {
        assert_eq!(rows(&text), plain, "{text}");
    }
    assert_eq!(rows("registration_id\na\n")[0].key, None);
}

#[test]
fn every_mistake_is_told_with_its_line_and_no_key_is_repeated() {
    let long = "x".repeat(129);
    for (text, expected) in [
        (String::new(), "lists no device"),
        ("registration_id,key\n".to_owned(), "lists no device"),
        ("id,key\na,b\n".to_owned(), "no column `registration_id`; it begins with `id`, `key`"),
        ("registration_id,devise_id\n".to_owned(), "did you mean `device_id`"),
        ("registration_id,key,primary_key\n".to_owned(), "the column `key` is there twice"),
        (
            format!("registration_id,key\na,{KEY}\nb\n"),
            "devices.csv:3: the row has 1 fields and the header 2",
        ),
        (
            format!("registration_id,key\na b,{KEY}\n"),
            "devices.csv:2: the registration id is not a legal one",
        ),
        (format!("registration_id\n{long}\n"), "129 characters"),
        (format!("registration_id,key,device_id\na,{KEY},x/y\n"), "the device id is not a legal one"),
        ("registration_id,key\na,canary\n".to_owned(), "key: "),
        ("registration_id,key\na,\n".to_owned(), "the key is empty"),
        ("registration_id,key\na,can-ary_0123456789abcdef\n".to_owned(), "URL-safe"),
        (format!("registration_id,key\na,HostName=x;SharedAccessKey={KEY}\n"), "connection string"),
        (
            format!("registration_id,key\nabc,{KEY}\nx,{KEY}\nABC,{KEY}\n"),
            "devices.csv:4: ABC is in line 2 already",
        ),
        (format!("registration_id\n\"open{}", "y\n".repeat(100_000)), "devices.csv:2: the row is longer"),
        (format!("registration_id\n{}", "z".repeat(1 << 20)), "the row is longer"),
    ] {
        let (_folder, list) = checked(text.as_bytes(), 0o600);
        let told = list.expect_err("a mistake");
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("canary") && !told.contains(KEY), "{told}");
    }
    let (_folder, list) = checked(b"registration_id\n\xff\xfe\n", 0o600);
    assert!(list.expect_err("no text").contains("devices.csv:2: the registration id is not UTF-8"));
    let many = format!("registration_id\n{}", "a b\n".repeat(1_000));
    let (_folder, list) = checked(many.as_bytes(), 0o600);
    assert_eq!(list.expect_err("mistakes").lines().count(), 10);
}

#[cfg(unix)]
#[test]
fn a_list_of_keys_that_others_may_read_is_refused_and_one_of_ids_is_not() {
    let (_folder, list) = checked(format!("registration_id,key\na,{KEY}\n").as_bytes(), 0o640);
    assert!(list.expect_err("exposed").contains("chmod 600"));
    let (_folder, list) = checked(b"registration_id\na\n", 0o644);
    assert!(list.is_ok());
}

#[test]
fn a_list_that_changed_after_it_was_checked_is_told() {
    let (folder, list) = checked(b"registration_id\na\nb\n", 0o600);
    let list = list.expect("a list");
    let mut rows = list.rows().expect("unchanged");
    rows.skip_rows(1).expect("a row");
    assert_eq!(rows.next().expect("a row").expect("legal").registration_id, "b");
    std::fs::write(folder.path().join("devices.csv"), "registration_id\nlonger\n").expect("a file");
    assert!(matches!(list.rows(), Err(ListError::Changed { .. })));
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
    for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
        let errors = DeviceList::check(path).expect_err("no file");
        assert!(matches!(errors.as_slice(), [ListError::Unreadable { .. }]), "{errors:?}");
    }
}

#[test]
fn a_row_that_does_not_end_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sparse.csv");
    std::fs::write(&path, "registration_id\n").expect("a file");
    // A gigabyte of zeros, of which nothing is on the disk.
    File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 30)).expect("it is longer");
    let errors = DeviceList::check(&path).expect_err("no end");
    assert!(matches!(errors.as_slice(), [ListError::Row { line: 2, problem: RowProblem::TooLong, .. }]));
}

proptest::proptest! {
    #[test]
    fn no_file_makes_the_check_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = checked(&bytes, 0o600);
        let _ = checked(&[b"registration_id,key\n".as_slice(), &bytes].concat(), 0o600);
    }
}
