//! Between messages and the lines a transport speaks. What comes from the peer is checked: nothing it writes can add a
//! line of its own.

use crate::e2ee::Role;

use super::messages::{Fingerprint, InitialSetup};

/// No candidate is longer.
const MAX_CANDIDATE: usize = 512;

/// What our transport said of itself, as far as it did.
#[derive(Default)]
pub(super) struct LocalLines {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<(String, String)>,
    setup: Option<String>,
    /// The setup that was sent last.
    sent: Option<InitialSetup>,
}

impl LocalLines {
    /// Takes lines; returns the candidates among them.
    pub(super) fn take(&mut self, lines: &str) -> Vec<String> {
        let mut candidates = Vec::new();
        for line in lines.lines().map(str::trim) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name {
                "ice-ufrag" => self.ufrag = Some(value.to_owned()),
                "ice-pwd" => self.pwd = Some(value.to_owned()),
                "fingerprint" => {
                    self.fingerprint = value
                        .split_once(' ')
                        .map(|(hash, bytes)| (hash.to_owned(), bytes.to_owned()));
                }
                "setup" => self.setup = Some(value.to_owned()),
                "candidate" if line.len() <= MAX_CANDIDATE => candidates.push(line.to_owned()),
                _ => {}
            }
        }
        candidates
    }

    /// Returns the setup to send, when it is complete and another than the last.
    pub(super) fn new_setup(&mut self, role: Role) -> Option<InitialSetup> {
        let (hash, fingerprint) = self.fingerprint.clone()?;
        let by_role = match role {
            Role::Caller => "actpass",
            Role::Callee => "passive",
        };
        let setup = InitialSetup {
            ufrag: self.ufrag.clone()?,
            pwd: self.pwd.clone()?,
            fingerprints: vec![Fingerprint {
                hash,
                setup: self.setup.clone().unwrap_or_else(|| by_role.to_owned()),
                fingerprint,
            }],
        };
        if self.sent.as_ref() == Some(&setup) {
            return None;
        }
        self.sent = Some(setup.clone());
        Some(setup)
    }
}

/// Turns the peer's credentials into lines. `None` if they cannot be used.
pub(super) fn of_setup(setup: &InitialSetup, peer: Role) -> Option<String> {
    let ice = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte))
    };
    if !(4..=256).contains(&setup.ufrag.len()) || !(22..=256).contains(&setup.pwd.len()) {
        return None;
    }
    if !ice(&setup.ufrag) || !ice(&setup.pwd) {
        return None;
    }
    let one = setup
        .fingerprints
        .iter()
        .find(|one| one.hash == "sha-256" && is_sha256(&one.fingerprint))?;
    // The caller is the DTLS client whatever it writes; nonsense becomes that.
    let role = match (one.setup.as_str(), peer) {
        (known @ ("actpass" | "active" | "passive"), _) => known,
        (_, Role::Caller) => "actpass",
        (_, Role::Callee) => "passive",
    };
    Some(format!(
        "ice-ufrag:{}\nice-pwd:{}\nfingerprint:sha-256 {}\nsetup:{role}\n",
        setup.ufrag, setup.pwd, one.fingerprint
    ))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 95
        && text.bytes().enumerate().all(|(place, byte)| {
            if place % 3 == 2 {
                byte == b':'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

/// Reads a candidate of the peer: its line and the user fragment it names. `None` if it could be anything else.
pub(super) fn of_candidate(text: &str) -> Option<(String, Option<String>)> {
    let line = text.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    let printable = line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !line.starts_with("candidate:") || line.len() > MAX_CANDIDATE || !printable {
        return None;
    }
    let mut words = line.split(' ').skip_while(|word| *word != "ufrag");
    let ufrag = words.nth(1).map(str::to_owned);
    Some((line.to_owned(), ufrag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(ufrag: &str, pwd: &str, role: &str, fingerprint: &str) -> InitialSetup {
        let one = Fingerprint {
            hash: "sha-256".to_owned(),
            setup: role.to_owned(),
            fingerprint: fingerprint.to_owned(),
        };
        InitialSetup {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
            fingerprints: vec![one],
        }
    }

    #[test]
    fn credentials_cannot_smuggle_lines() {
        let good = ["AA"; 32].join(":");
        let pwd = "p".repeat(22);
        let lines = of_setup(&setup("abcd", &pwd, "actpass", &good), Role::Caller).unwrap();
        assert_eq!(
            lines,
            format!("ice-ufrag:abcd\nice-pwd:{pwd}\nfingerprint:sha-256 {good}\nsetup:actpass\n")
        );
        let bad = [
            setup("abc", &pwd, "actpass", &good),
            setup("ab\ncd", &pwd, "actpass", &good),
            setup("abcd", &"p".repeat(21), "actpass", &good),
            setup("abcd", &"p".repeat(257), "actpass", &good),
            setup("abcd", &format!("{pwd}\nsetup:active"), "actpass", &good),
            setup("abcd", &pwd, "actpass", &good[3..]),
            setup("abcd", &pwd, "actpass", &good.replace('A', "G")),
        ];
        for bad in bad {
            assert_eq!(of_setup(&bad, Role::Caller), None, "{bad:?}");
        }
        let odd = of_setup(&setup("abcd", &pwd, "x\ny:z", &good), Role::Callee).unwrap();
        assert!(odd.ends_with("setup:passive\n"));
    }

    #[test]
    fn candidates_are_one_line() {
        let line = "candidate:1 1 udp 2122260224 10.77.0.1 57946 typ host generation 0 ufrag dew+ network-id 3";
        assert_eq!(of_candidate(line), Some((line.to_owned(), Some("dew+".to_owned()))));
        assert_eq!(
            of_candidate(&format!("a={line}\r\n")).map(|found| found.0),
            Some(line.to_owned())
        );
        for bad in [
            "",
            "candidate",
            "x:1",
            "candidate:1\nssrc:5",
            "candidate:\u{7f}",
            &"candidate:".repeat(60),
        ] {
            assert_eq!(of_candidate(bad), None, "{bad}");
        }
    }
}
