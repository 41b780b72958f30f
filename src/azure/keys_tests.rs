use super::*;

/// The 64-byte key of Azure's Python quickstart.
pub(in crate::azure) const QUICKSTART: &str =
    "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";

fn derived(group: &str, registration_id: &str) -> String {
    let key = GroupKey::from_base64(group).expect("a key").derive(registration_id);
    let text = key.to_base64();
    let mut slice = [0; 44];
    GroupKey::from_base64(group).expect("a key").derive_base64_into(registration_id, &mut slice);
    assert_eq!(text.expose(), slice);
    text.expose_text().expect("base64 is text").to_owned()
}

#[test]
fn derived_keys_equal_the_published_ones() {
    let contoso = "oiK77Oy7rBw8YB6IS6ukRChAw+Yq6GC61RMrPLSTiOOtdI+XDu0LmLuNm11p+qv2I+adqGUdZHm46zXAQdZoOA==";
    for (group, id, expected) in [
        (
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
            "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
            "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=",
        ),
        (contoso, "breakroom499-contoso-tstrsd-007", "JC8F96eayuQwwz+PkE7IzjH2lIAjCUnAa61tDigBnSs="),
        (contoso, "mainbuilding167-contoso-hpsd-088", "6uejA9PfkQgmYylj8Zerp3kcbeVrGZ172YLa7VSnJzg="),
        // Printed by the documentation for another id; this is what the algorithm gives.
        (contoso, "contoso-toaster-007", "NXZgydIn9ntUpXfBsWFfaxJqAYVfgGQsshvA5GboGJI="),
    ] {
        assert_eq!(derived(group, id), expected, "{id}");
    }
}

#[test]
fn signatures_equal_the_published_ones() {
    for (key, message, expected) in [
        (
            "NMgJDvdKTxjLi+xBxxkDDEwDJxEvOE5u8BiT0mVgPeg=",
            "sign this message",
            "8NJRMT83CcplGrAGaUVIUM/md5914KpWVNngSVoF9/M=",
        ),
        (
            "18RQk/hOPJR9EbsJlk2j8WA6vWaj/yi+oaYg7zmxfQNdOyMSu+SJ8O7TSlZhDJCYmn4rzEiVKIzNiVAWjLxrGA==",
            "MyExampleHub.azure-devices.net%2Fdevices%2Fmy-symkey-device\n1663119026",
            "f+wW8XOKeJOtiPc9Iwjc4OpExvPM7NlhM9qxN2a1aAM=",
        ),
        (
            "18RQk/hOPJR9EbsJlk2j8WA6vWaj/yi+oaYg7zmxfQNdOyMSu+SJ8O7TSlZhDJCYmn4rzEiVKIzNiVAWjLxrGA==",
            "0ne00111111%2Fregistrations%2Fmy-symkey-device\n1663952627",
            "8VPprb8BiTkuVE0hBqHm/SVrzVpdD8VZcXugntdbhuU=",
        ),
    ] {
        let key = SigningKey::from_base64(key).expect("a key");
        assert_eq!(BASE64.encode(key.sign(&[message.as_bytes()])), expected);
    }
    // Keys of 8 bytes, below what the service takes: the signature is still defined.
    for (message, expected) in [
        ("uri\n12345", "kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk="),
        ("string-to-sign", "o1n1hiIVgzVA2+krq9ty1Z4xsIJKJZP3dYT8MOi65Y4="),
    ] {
        let key = SigningKey::from_bytes(b"password");
        assert_eq!(BASE64.encode(key.sign(&[message.as_bytes()])), expected);
    }
}

#[test]
fn derived_keys_equal_the_computed_ones() {
    let long = "x".repeat(128);
    for (id, expected) in [
        ("symm-key-python-device-008", "R6JLsqYnAk3gUmpYCvMGs4n+DlCzJKYySjULMaF//fE="),
        ("SYMM-KEY-PYTHON-DEVICE-008", "NbVQcwWqfun86hKXREy86k0Vsk9MiVNAKHhvE+c7mbc="),
        ("Symm-Key-Python-Device-008", "lNYUUheV+rt5vOvRpGlob2Gmk+WQS6tJ8Em5WyvjkRg="),
        ("symm-key-python-device-000", "9Y7y/ylHn9EHTG7XxDvvwGNg8ueyeDLrIlK2gv79MtY="),
        ("symm-key-python-device-0", "SXBjQMGtDxox7vfR2qTkZb6Tp6mXvVKGP/Aqx566UJg="),
        ("python-device-008", "FNbuPT2B1fx6psia3FFFzmPRt/k5AG85+G3qenwg6kI="),
        ("device-00001", "enkSxaAh+TnTbbQzxr1pgoUX9RxoUBGsbv3P+xCpapQ="),
        ("device-99999", "x5bhEOxmzJsy40Pix0YYfUmOa/s4KqFU6H5Ic0C6ss0="),
        ("dev:a.b_c-1", "qwWGzbkG+N8o7UIbCnD0GpAAKZNpRd1IVPoFXCjJI9g="),
        ("a", "6XlKKXn6+el9TMZMs43zlkwCzov8qZTkdzjF3YtPGeA="),
        (long.as_str(), "mKAMYVlg7ueNF+expDYJilfgJ4VPV4o1by9Ptdj+Rs0="),
    ] {
        assert_eq!(derived(QUICKSTART, id), expected, "{id}");
    }
    assert_eq!(
        derived(
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
            "sn-007-888-ABC-mac-a1-b2-c3-d4-e5-f6",
        ),
        "2fw21CA0OIW9dF50YBgxevUuRi86fqJuyvpZ5eFUrNc=",
    );
    let zeros = BASE64.encode([0; 32]);
    let counting = BASE64.encode(std::array::from_fn::<u8, 64, _>(|i| i as u8));
    for (group, id, expected) in [
        (&zeros, "device-0", "l9ThcXxNRkk0V3ch8rUYJZpjeGZkreJTsB9OME8F4aI="),
        (&zeros, "device-1", "gUTe3Myi1sY5YNYq0G3WF6xqDcH25ZVEtKptiBJzKtM="),
        (&zeros, "device-00001", "RuV8e3xvP/svxp9O7MAEG8VXrrxLXPm4OEy70L8SUhc="),
        (&counting, "device-0", "QOQKttBehNHKzR4MvVNcVrM8sTw1GiGQW8Vh5ATj5cg="),
        (&counting, "device-1", "r3cfq87n4fonUTSKGv/bclACEzOX9AnbcB1PwhzFsu4="),
        (&counting, "device-00001", "4QtuC4RMfQDEFNnLxtlzMG6F4OF32jOLm6u7hBR8KYc="),
    ] {
        assert_eq!(derived(group, id), expected, "{id}");
    }
    // Keys whose printed results are wrong in their sources; these are what the algorithm gives.
    let docs = "G3vn0IZH9oK3d4wsxFpWBtd2KUrtjI+39dZVRf26To8w9OX0LaFV9yZ93ELXY7voqHEUsNhnb9bt717UP87KxA==";
    assert_eq!(derived(docs, "contoso-simdevice"), "prIvMivIPDAqwBH6aCT4P8raQxEulx32+eNjQpp5/bM=");
    assert_eq!(derived(docs, "my-symkey-device"), "Q+erii/qT0ty8UwJPpnDYucSU2Np3B1053zvwW2S+ns=");
}

#[test]
fn a_key_survives_a_trailing_newline_and_lost_padding() {
    let trimmed = QUICKSTART.trim_end_matches('=');
    for text in [format!("{QUICKSTART}\n"), format!("  {QUICKSTART}\r\n"), trimmed.to_owned()] {
        assert_eq!(DeviceKey::from_base64(&text), DeviceKey::from_base64(QUICKSTART));
    }
}

#[test]
fn a_text_that_is_no_key_is_refused_by_its_kind_and_never_repeated() {
    let connection = format!("HostName=h;DeviceId=d;SharedAccessKey={QUICKSTART}");
    let url_safe = QUICKSTART.replace('+', "-").replace('/', "_");
    for (text, expected) in [
        ("", KeyError::Empty),
        (" \n", KeyError::Empty),
        (connection.as_str(), KeyError::ConnectionString),
        (url_safe.as_str(), KeyError::UrlSafe),
        ("abc$", KeyError::NotBase64 { position: 4 }),
        ("c2hvcnQ=", KeyError::Length { length: 5 }),
        (&BASE64.encode([1; 65]), KeyError::Length { length: 65 }),
    ] {
        let error = DeviceKey::from_base64(text).expect_err(text);
        assert_eq!(error, expected);
        assert!(text.len() < 9 || !error.to_string().contains(text));
    }
}
