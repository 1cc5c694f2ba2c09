//! Tables of numbers and where they lead.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::config;

/// Shows what a pattern makes of a number: `name=text` for each capture, or `none`.
fn shown(pattern: &str, number: &str) -> String {
    let parsed: Pattern = pattern.parse().unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let names = ["a", "b", "c", "user", "room"];
    match parsed.matches(number) {
        None => "none".to_owned(),
        Some(captures) => {
            let shown = names
                .iter()
                .filter_map(|name| Some(format!("{name}={}", captures.get(name)?)));
            shown.collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn patterns_match_whole_numbers() {
    for (pattern, number, expected) in [
        ("100", "100", ""),
        ("100", "1000", "none"),
        ("100", "10", "none"),
        ("", "", ""),
        ("", "1", "none"),
        ("{user}", "", "none"),
        ("{user}", "anna", "user=anna"),
        ("{user}", "änna", "user=änna"),
        ("tg*{user}", "tg*anna", "user=anna"),
        ("tg*{user}", "tg*", "none"),
        ("tg*{user}", "tganna", "none"),
        ("{user}*", "anna*", "user=anna"),
        ("{user}*", "*", "none"),
        ("{user}*", "**", "user=*"),
        ("{a}*{b}", "1*2*3", "a=1 b=2*3"),
        ("{a}*{b}", "**2", "a=* b=2"),
        ("{a}*{b}", "1*", "none"),
        ("{a}*{b}*{c}", "1*2*3", "a=1 b=2 c=3"),
        ("{a}12{b}12", "0120123412", "a=0 b=01234"),
        ("{a}ab{b}ab", "xababab", "a=x b=ab"),
        ("{a}aab{b}", "aaaabc", "a=aa b=c"),
        ("[0-9]{3}", "123", ""),
        ("[0-9]{3}", "12", "none"),
        ("[0-9]{3}", "12a", "none"),
        ("[0-9a-c*#]", "#", ""),
        ("[0-9-]", "-", ""),
        ("[]]", "]", ""),
        ("[{]", "{", ""),
        ("9{room:[0-9]{3}}", "9123", "room=123"),
        ("9{room:[0-9]{3}}{user}", "9123x", "user=x room=123"),
        ("{room:[0-9]}{a}{b:[x]}", "12x", "a=2 b=x room=1"),
        ("0{a}[0-9]{2}", "0123", "a=1"),
        ("0{a}[0-9]{2}", "012", "none"),
        ("{user}", "a b", "none"),
        ("{user}", "a\r\nX-Evil:b", "none"),
    ] {
        assert_eq!(shown(pattern, number), expected, "{pattern} {number}");
    }
}

#[test]
fn patterns_that_cannot_be_read_say_why() {
    for (pattern, expected) in [
        (
            "{a",
            "has a \"{\" that is never closed; a capture is written {name}, a class [0-9]{3}",
        ),
        (
            "[0-9",
            "has a \"[\" that is never closed; a capture is written {name}, a class [0-9]{3}",
        ),
        (
            "[",
            "has a \"[\" that is never closed; a capture is written {name}, a class [0-9]{3}",
        ),
        (
            "[]",
            "has a \"[\" that is never closed; a capture is written {name}, a class [0-9]{3}",
        ),
        (
            "a}",
            "has a \"}\" that was never opened; as a character to dial it is written [}]",
        ),
        (
            "{}",
            "has \"{}\", which is no capture; a name is a lower-case letter, then letters, digits and _",
        ),
        (
            "{3}",
            "has \"{3}\", which is no capture; a name is a lower-case letter, then letters, digits and _",
        ),
        ("{a}x{a}", "captures \"a\" twice; give each capture its own name"),
        (
            "{a}{b}",
            "has {a} and {b} side by side, and nothing says where one ends; put a character or a class between",
        ),
        ("{a:b}", "has no class behind \"{a:\"; it is written {a:[0-9]{3}}"),
        (
            "{a:[0-9]",
            "has a \"{\" that is never closed; a capture is written {name}, a class [0-9]{3}",
        ),
        (
            "[^0]",
            "has a class that begins with ^; name the characters that are allowed instead",
        ),
        ("[9-0]", "has the range 9-0, which runs backwards"),
        ("[0-9]{0}", "has a count that is not between 1 and 256"),
        (
            "[0-9]{99999999999999999999}",
            "has a count that is not between 1 and 256",
        ),
        ("[0-9]{200}[0-9]{200}", "is longer than 256 characters"),
    ] {
        assert_eq!(
            pattern.parse::<Pattern>().map_err(|error| error.to_string()),
            Err(expected.to_owned()),
            "{pattern}"
        );
    }
    assert_eq!("x".repeat(257).parse::<Pattern>(), Err(PatternError::Long));
}

#[test]
fn targets_and_callers() {
    for good in ["hub:anna", "hub:{user}", "phone:100", "phone:1{a}2{b}"] {
        assert_eq!(good.parse::<Target>().unwrap().to_string(), good);
    }
    for good in ["phones", "phone:100", "network:hub", "trunk:pbx"] {
        assert_eq!(good.parse::<Callers>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "hub",
        "hub:",
        "hub:{",
        "hub:}",
        "hub:{A}",
        "Hub:x",
        "9:x",
        ":x",
        "trunk:pbx",
    ] {
        assert!(bad.parse::<Target>().is_err(), "{bad}");
    }
    for bad in ["", "phone", "phone:", "network:", "trunk:", "anybody"] {
        assert!(bad.parse::<Callers>().is_err(), "{bad}");
    }
}

fn routes() -> Routes {
    let phones: String = ["100", "101", "102"]
        .iter()
        .map(|user| {
            format!(
                "[[phone]]\nuser = \"{user}\"\npassword_hash = {{ md5 = \"{}\" }}\n",
                "0".repeat(32)
            )
        })
        .collect();
    let routes = r#"
[[route]]
name = "bell"
from = "phone:102"
number = "0"
to = "hub:porter"
ring_timeout = "5s"
[[route]]
name = "prefix"
from = "phones"
number = "tg*{user}"
to = "hub:tg-{user}"
[[route]]
name = "people"
from = "phones"
number = "{user}"
to = "hub:{user}"
[[route]]
name = "extension"
from = "network:hub"
number = "{room:[0-9]{3}}"
to = "phone:{room}"
[[route]]
name = "desk"
from = "network:hub"
number = ""
to = ["phone:100", "phone:101"]
"#;
    let loaded =
        config::load_texts(Path::new("."), ["", &phones, routes], &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
    loaded.settings.routes()
}

#[test]
fn the_first_route_that_matches_decides() {
    let routes = routes();
    let phone = |user: &str| Origin::Phone(user.to_owned());
    let hub = || Origin::Network("hub".to_owned());
    for (origin, number, expected) in [
        (phone("102"), "0", "bell: hub porter 5s"),
        (phone("100"), "0", "people: hub 0 60s"),
        (phone("100"), "tg*anna", "prefix: hub tg-anna 60s"),
        (phone("100"), "anna", "people: hub anna 60s"),
        (phone("100"), "", "no route matches"),
        (phone("100"), "a b", "no route matches"),
        (hub(), "100", "extension: phones 100 60s"),
        (hub(), "", "desk: phones 100 101 60s"),
        (
            hub(),
            "999",
            "route \"extension\" leads to phone \"999\", which does not exist",
        ),
        (hub(), "anna", "no route matches"),
        (Origin::Network("telegram".to_owned()), "100", "no route matches"),
    ] {
        let shown = match routes.find(&origin, &[], number) {
            Err(error) => error.to_string(),
            Ok(Destination {
                kind: DestinationKind::User { network, user },
                ring_timeout,
                route,
                ..
            }) => {
                format!("{route}: {network} {user} {}s", ring_timeout.as_secs())
            }
            Ok(Destination {
                kind: DestinationKind::Phones(users),
                ring_timeout,
                route,
                ..
            }) => {
                format!("{route}: phones {} {}s", users.join(" "), ring_timeout.as_secs())
            }
            Ok(Destination {
                kind: DestinationKind::Trunk { trunk, number },
                route,
                ..
            }) => format!("{route}: trunk {trunk} {number}"),
        };
        assert_eq!(shown, expected, "{origin:?} {number}");
    }
}

#[test]
fn any_pattern_and_any_number_end_without_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut text = |alphabet: &[char], longest: u32| -> String {
        let length = rng.next_u32() % longest;
        (0..length)
            .map(|_| alphabet[rng.next_u32() as usize % alphabet.len()])
            .collect()
    };
    let pattern_alphabet = ['{', '}', '[', ']', ':', '-', '^', '0', '9', 'a', 'b', 'é', '*'];
    let mut read = 0;
    for _ in 0..20_000 {
        let (pattern, number) = (text(&pattern_alphabet, 14), text(&['0', '9', 'a', 'b', 'é', '*'], 12));
        if let Ok(pattern) = pattern.parse::<Pattern>() {
            read += 1;
            let _ = pattern.matches(&number);
        }
        let _ = pattern.parse::<Template>();
    }
    assert!(read > 1000, "{read}");
}

#[test]
fn the_worst_pattern_takes_a_bounded_number_of_steps() {
    // Forty captures between characters that all match: exponential where matching backtracks.
    let pattern: String = (0..40).map(|index| format!("{{a{index}}}a")).collect::<String>() + "b";
    let pattern: Pattern = pattern.parse().unwrap();
    assert_eq!(pattern.matches(&"a".repeat(256)), None);
}

/// Seen: with anna's own route first and one for everybody behind it, ANNA was called by the second.
#[test]
fn upper_and_lower_case_make_no_difference_to_which_route_decides() {
    let routes = "[[route]]\nname = \"anna\"\nfrom = \"phones\"\nnumber = \"anna\"\nto = \"hub:anna\"\nrelay_only = true\n\
                  [[route]]\nname = \"all\"\nfrom = \"phones\"\nnumber = \"{user}\"\nto = \"hub:{user}\"\n";
    let phone = "[[phone]]\nuser = \"100\"\npassword_hash = { md5 = \"00112233445566778899aabbccddeeff\" }\n";
    let loaded = config::load_texts(Path::new("."), ["", phone, routes], &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
    let routes = loaded.settings.routes();
    for (number, route) in [("anna", "anna"), ("ANNA", "anna"), ("Anna", "anna"), ("Bob", "all")] {
        let found = routes.find(&Origin::Phone("100".into()), &["100"], number).unwrap();
        assert_eq!(
            (found.route.as_str(), found.relay_only),
            (route, route == "anna"),
            "{number}"
        );
    }
}
