//! `quartet passwd USER`: asks for a password and prints the line `password_hash` for phones.conf.
//!
//! The password itself is stored nowhere and wiped after use.

use std::io::{self, BufRead, IsTerminal, Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use crate::config::{self, Hashes, PasswordHash};

/// Longest password, in bytes; longer ones are a file sent by mistake.
const MAX_PASSWORD: u64 = 1024;

/// Asks for the password of `user` and prints its hashes for the realm.
///
/// On a terminal it is asked twice and not shown; otherwise it is the first line of standard input. The realm is that of
/// the conf files, unless it is given.
/// Returns the exit code: 0, or 1 if the input was refused.
///
/// # Errors
/// If the conf files or the terminal cannot be read.
pub fn run(conf: Option<&Path>, user: &str, realm: Option<&str>, hashes: Hashes, json: bool) -> anyhow::Result<u8> {
    let refuse = |sentence: &str| -> anyhow::Result<u8> {
        writeln!(io::stderr(), "{sentence}")?;
        Ok(1)
    };
    if let Err(sentence) = config::check_user(user) {
        return refuse(&format!("the user {sentence}"));
    }
    let realm = match realm.map(|realm| (realm, config::check_realm(realm))) {
        Some((realm, Ok(()))) => realm.to_owned(),
        Some((_, Err(sentence))) => return refuse(&format!("the realm {sentence}")),
        None => match config::find_folder(conf).and_then(|folder| config::realm(&folder, &config::environment())) {
            Ok(realm) => realm,
            Err(problems) => {
                return refuse(&format!(
                    "{problems}\nthe realm is not known; correct that or give --realm"
                ));
            }
        },
    };
    let password = if io::stdin().is_terminal() {
        ask(user)?
    } else {
        read_line(&mut io::stdin().lock())?
    };
    if password.is_empty() {
        return refuse("an empty password is refused");
    }
    let hash = PasswordHash::of(user, &realm, &password, hashes);
    let printed = if json { hash.to_json() } else { hash.to_line() };
    writeln!(
        io::stderr(),
        "for [[phone]] user = \"{user}\" in phones.conf, realm \"{realm}\":"
    )?;
    writeln!(io::stdout(), "{}", *printed)?;
    Ok(0)
}

fn ask(user: &str) -> anyhow::Result<Zeroizing<String>> {
    let prompt = |text: String| {
        rpassword::prompt_password(text)
            .map(Zeroizing::new)
            .context("cannot ask the terminal")
    };
    let first = prompt(format!("Password for {user}: "))?;
    let second = prompt("Once more: ".to_owned())?;
    if first != second {
        bail!("the two passwords differ; nothing was made");
    }
    Ok(first)
}

/// Reads a line without its end.
fn read_line(input: &mut impl BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD as usize + 2));
    input
        .take(MAX_PASSWORD + 2)
        .read_until(b'\n', &mut line)
        .context("cannot read the password from standard input")?;
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    if line.len() as u64 > MAX_PASSWORD {
        bail!("the password is longer than {MAX_PASSWORD} bytes");
    }
    let text = std::str::from_utf8(&line).context("the password is not UTF-8")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_behind_the_examples_of_the_rfc() {
        // RFC 7616 §3.9.1: with these the responses 8ca523f5… (MD5) and 753927fa… (SHA-256) come out.
        let hash = PasswordHash::of(
            "Mufasa",
            "http-auth@example.org",
            "Circle of Life",
            Hashes::Md5AndSha256,
        );
        assert_eq!(
            hash.to_line().as_str(),
            "password_hash = { md5 = \"3d78807defe7de2157e2b0b6573a855f\", \
             sha256 = \"7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232\" }"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(&hash.to_json()).unwrap()["password_hash"]["sha256"].is_string()
        );
        // RFC 2617 §3.5.
        let old = PasswordHash::of("Mufasa", "testrealm@host.com", "Circle Of Life", Hashes::Md5);
        assert_eq!(
            old.to_line().as_str(),
            "password_hash = { md5 = \"939e7578ed9e3c518a452acee763bce9\" }"
        );
    }

    #[test]
    fn the_printed_line_is_what_phones_conf_takes() {
        for hashes in [Hashes::Md5, Hashes::Md5AndSha256, Hashes::All] {
            let hash = PasswordHash::of("100", "quartet", "s3cret", hashes);
            let phones = format!("[[phone]]\nuser = \"100\"\n{}\n", *hash.to_line());
            let loaded = config::load_texts(Path::new("."), ["", &phones, ""], &[]);
            let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(loaded.settings.phones[0].password_hash, hash);
        }
    }

    #[test]
    fn a_line_of_standard_input_is_the_password() {
        for (input, expected) in [
            ("secret\n", "secret"),
            ("secret\r\nmore", "secret"),
            (" a b ", " a b "),
            ("", ""),
        ] {
            assert_eq!(read_line(&mut input.as_bytes()).unwrap().as_str(), expected);
        }
        assert_eq!(read_line(&mut "x".repeat(1024).as_bytes()).unwrap().len(), 1024);
        assert!(read_line(&mut "x".repeat(5000).as_bytes()).is_err());
        assert!(read_line(&mut &b"\xff\n"[..]).is_err());
    }
}
