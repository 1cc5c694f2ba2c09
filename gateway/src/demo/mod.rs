//! The visible main job: a SIP phone calls an E2EE user through a real gateway, and both ends tell what they saw and heard.
//!
//! The gateway is a process of its own ([`gateway`]); the phone and the user are clients with real sockets. The tests use
//! the same two.

pub mod e2ee_peer;
pub mod gateway;
pub mod hear;
pub mod line;
pub mod peer;
pub mod phone;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quartet_proto::e2ee::fingerprint::Emoji;
use serde::Serialize;

use self::e2ee_peer::{Answering, E2eePeer, Fault};
use self::gateway::Gateway;
use self::hear::Known;
use self::line::Source;
use self::phone::Phone;
pub use crate::config::Hashes;
use crate::config::{PasswordHash, Plugins};
use crate::io::control::ControlRequest;
use crate::io::startup::opus_decoder;
use crate::ivr::phrase::{Phrase, PromptId};
use crate::ivr::prompts::{BUILTIN_LANGUAGE, Prompts};
use crate::ivr::script;
use crate::plugins::Registry;

/// The tone that the phone sends.
pub const PHONE_HZ: f32 = 440.0;

/// The tone that the E2EE user sends.
pub const PEER_HZ: f32 = 600.0;

/// The realm of the demo's accounts.
pub const REALM: &str = "quartet";

/// How long the announcement may take to be heard to its end.
const ANNOUNCEMENT: Duration = Duration::from_secs(13);

/// What both ends saw and heard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heard {
    /// The emojis at the gateway, which calls.
    pub emojis_caller: [String; 4],
    /// The emojis at the E2EE user.
    pub emojis_callee: [String; 4],
    /// The words found in the phone's recording.
    pub spoken: Vec<String>,
    /// The strongest tone at the phone after them.
    pub tone_at_phone_hz: f32,
    /// The strongest tone at the E2EE user.
    pub tone_at_peer_hz: f32,
    /// From dialling to the call standing.
    pub setup_ms: u64,
}

impl Heard {
    /// What does not agree; nothing if all does.
    pub fn faults(&self, emojis: &[Emoji; 4]) -> Vec<String> {
        let mut faults = Vec::new();
        if self.emojis_caller != self.emojis_callee {
            faults.push("the two ends show different emojis".to_owned());
        }
        let words: Vec<_> = emojis.iter().map(|emoji| emoji.word()).collect();
        if self.spoken != words {
            faults.push(format!("spoken were {:?} instead of {words:?}", self.spoken));
        }
        if (self.tone_at_phone_hz - PEER_HZ).abs() > 5.0 {
            faults.push(format!(
                "the phone hears {} Hz instead of {PEER_HZ}",
                self.tone_at_phone_hz
            ));
        }
        if (self.tone_at_peer_hz - PHONE_HZ).abs() > 5.0 {
            faults.push(format!(
                "the E2EE user hears {} Hz instead of {PHONE_HZ}",
                self.tone_at_peer_hz
            ));
        }
        faults
    }
}

/// Loads the plugins of a folder.
///
/// # Errors
/// If one of the four that a call needs is missing; the text says how to build them.
pub fn plugins_of(folder: &Path) -> anyhow::Result<Arc<Registry>> {
    let required = ["codec-g711", "codec-opus", "transport-rtp", "transport-webrtc"]
        .map(str::to_owned)
        .to_vec();
    let settings = Plugins {
        path: vec![folder.to_owned()],
        required,
        ..Plugins::default()
    };
    let registry =
        Registry::load(&settings).context("build the plugins (cargo build), or name their folder (--plugins DIR)")?;
    Ok(Arc::new(registry))
}

/// The rows of phones.conf for an account of the demo; `more` are further lines.
pub fn phone_row(user: &str, password: &str, hashes: Hashes, more: &str) -> String {
    let hash = PasswordHash::of(user, REALM, password, hashes);
    format!("[[phone]]\nuser = \"{user}\"\n{}\n{more}\n", *hash.to_line())
}

/// Ears that know every word of the announcement.
pub struct Ears {
    lead: Vec<i16>,
    again: Vec<i16>,
    words: Vec<Known>,
}

impl Ears {
    /// Decodes the recordings.
    ///
    /// # Errors
    /// If one cannot be decoded.
    pub fn new(registry: Arc<Registry>) -> anyhow::Result<Self> {
        let mut prompts = Prompts::builtin(opus_decoder(registry));
        let mut known = |id: PromptId| -> anyhow::Result<Vec<i16>> {
            let sound = prompts.sound(BUILTIN_LANGUAGE, id)?;
            let factor = (sound.rate / hear::RATE).max(1) as usize;
            let mean = |c: &[i16]| (c.iter().map(|s| i32::from(*s)).sum::<i32>() / c.len() as i32) as i16;
            Ok(sound.samples.chunks(factor).map(mean).collect())
        };
        let lead = known(PromptId::Phrase(Phrase::Compare))?;
        let again = known(PromptId::Phrase(Phrase::Again))?;
        let words = (0..)
            .map_while(Emoji::new)
            .map(|emoji| {
                Ok(Known {
                    text: emoji.word().to_owned(),
                    samples: known(PromptId::Emoji(emoji))?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { lead, again, words })
    }

    /// The words of the announcement in a recording at [`hear::RATE`], at most four.
    pub fn words(&self, audio: &[i16]) -> Vec<&str> {
        self.after(&self.lead, audio)
    }

    /// The words after "Once more:".
    pub fn words_again(&self, audio: &[i16]) -> Vec<&str> {
        self.after(&self.again, audio)
    }

    /// How alike the word is where it is said in a recording at [`hear::RATE`], 1 being identical; 0 if it is no word of ours.
    pub fn likeness(&self, audio: &[i16], word: &str) -> f32 {
        let known = self.words.iter().find(|known| known.text == word);
        let found = known.and_then(|known| hear::find(audio, &known.samples));
        found.map_or(0.0, |found| found.likeness)
    }

    fn after(&self, lead: &[i16], audio: &[i16]) -> Vec<&str> {
        let gap = (script::WORD_GAP.as_millis() as usize) * hear::RATE as usize / 1000;
        hear::words_after(audio, lead, gap, &self.words, 4)
    }
}

/// A gateway with an account for a person's softphone, one for the demo's phone, and the user `echo`.
pub struct Stage {
    /// The plugins, for the two ends.
    pub registry: Arc<Registry>,
    /// The gateway.
    pub gateway: Gateway,
    /// The user `echo`.
    pub peer: E2eePeer,
    /// The password of phone 100, for a person.
    pub password: String,
    /// The password of phone 101, the demo's.
    demo_password: String,
}

impl Stage {
    /// Starts the gateway and lets `echo` join its hub.
    ///
    /// # Errors
    /// Whatever keeps either from it.
    pub async fn build(program: &Path, plugins: &Path, sip_port: u16) -> anyhow::Result<Self> {
        let registry = plugins_of(plugins)?;
        let (password, demo_password) = (password(), password());
        let setup = gateway::Setup {
            sip: ([127, 0, 0, 1], sip_port).into(),
            listen: Vec::new(),
            identity: None,
            hub: gateway::Hub::Here(([127, 0, 0, 1], 0).into()),
            plugins: vec![plugins.to_owned()],
            sip_lines: String::new(),
            more: String::new(),
            phones: phone_row(
                "100",
                &password,
                Hashes::Md5,
                "name = \"You\"\ncodecs = [\"opus\", \"pcma\", \"pcmu\"]",
            ) + &phone_row(
                "101",
                &demo_password,
                Hashes::Md5AndSha256,
                "name = \"Demo\"\ncodecs = [\"pcmu\"]",
            ),
            routes:
                "[[route]]\nname = \"people on the hub\"\nfrom = \"phones\"\nnumber = \"{user}\"\nto = \"hub:{user}\"\n"
                    .into(),
        };
        let gateway = Gateway::start(program, &setup).await?;
        let token = gateway
            .ask(&ControlRequest::Invite {
                user: "echo".into(),
                gateway: false,
            })
            .await?;
        let peer = E2eePeer::join(
            Arc::clone(&registry),
            e2ee_peer::Setup {
                hub: format!("ws://{}/hub/v1", gateway.hub()?),
                token: token["token"].as_str().context("invite gives no token")?.to_owned(),
                address: [127, 0, 0, 1].into(),
                source: Source::Tone { hz: PEER_HZ },
                answering: Answering::Take,
                fault: Fault::None,
            },
        )
        .await?;
        Ok(Self {
            registry,
            gateway,
            peer,
            password,
            demo_password,
        })
    }

    /// Places the call and listens at both ends; `show` gets each step as a line of text.
    ///
    /// # Errors
    /// If a step does not happen in time, or what the ends saw and heard does not agree.
    pub async fn call(&mut self, show: &mut dyn FnMut(&str)) -> anyhow::Result<Heard> {
        let start = Instant::now();
        let mut step = |what: &str| show(&format!("{:>6} ms  {what}", start.elapsed().as_millis()));
        let mut phone = Phone::start(
            Arc::clone(&self.registry),
            phone::Setup {
                gateway: self.gateway.sip()?,
                user: "101".into(),
                password: self.demo_password.clone(),
                codecs: vec!["pcmu".into()],
                source: Source::Tone { hz: PHONE_HZ },
                answers: false,
                transport: "rtp".into(),
                srtp: phone::Srtp::Optional,
            },
        )
        .await?;
        let ears = Ears::new(Arc::clone(&self.registry))?;
        let limit = Duration::from_secs(5);
        phone.wait(&phone::Event::Registered, limit).await?;
        step("phone    ─► gateway             REGISTER, digest SHA-256, 200 OK");
        let dialled = Instant::now();
        phone.dial("echo");
        step("phone    ─► gateway             INVITE echo, one codec: PCMU");
        let called = self.peer.wait("a call", limit, |event| match event {
            e2ee_peer::Event::Called(from) => Some(from.clone()),
            e2ee_peer::Event::Ringing
            | e2ee_peer::Event::Emojis(_)
            | e2ee_peer::Event::Connected
            | e2ee_peer::Event::Sound(_)
            | e2ee_peer::Event::Ended(_) => None,
        });
        let from = called.await?;
        step(&format!(
            "            gateway ─► E2EE user  call from {from}, with the commitment to its public value"
        ));
        let emojis = self
            .peer
            .wait("emojis", limit, |event| {
                if let e2ee_peer::Event::Emojis(emojis) = event {
                    Some(*emojis)
                } else {
                    None
                }
            })
            .await?;
        step(&format!(
            "            gateway ◄► E2EE user  key agreed: {}",
            symbols(&emojis).join(" ")
        ));
        self.peer
            .wait("media", limit, |event| {
                (*event == e2ee_peer::Event::Connected).then_some(())
            })
            .await?;
        step("            gateway ◄► E2EE user  ICE, DTLS, SRTP: media is up");
        phone.wait(&phone::Event::Connected, limit).await?;
        let setup_ms = dialled.elapsed().as_millis() as u64;
        step("phone    ◄─ gateway             200 OK, ACK: the call stands");
        let calls = self.gateway.ask(&ControlRequest::Calls).await?;
        let emojis_caller = caller_emojis(&calls)?;
        let end = Instant::now() + ANNOUNCEMENT;
        let spoken = loop {
            let audio = phone.line().heard();
            let words: Vec<_> = ears.words(&audio).into_iter().map(str::to_owned).collect();
            if words.len() == 4 || Instant::now() > end {
                break words;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        step(&format!(
            "phone    ◄─ gateway             the handset hears: {}",
            spoken.join(", ")
        ));
        let tone_at_phone = tone_within(phone.line(), PEER_HZ, Duration::from_secs(3)).await;
        step(&format!(
            "phone    ◄─────────── E2EE user  the handset hears {tone_at_phone} Hz"
        ));
        let tone_at_peer = tone_within(self.peer.line(), PHONE_HZ, Duration::from_secs(3)).await;
        step(&format!(
            "phone    ───────────► E2EE user  the E2EE user hears {tone_at_peer} Hz"
        ));
        phone.hang_up();
        self.peer
            .wait("the end", limit, |event| {
                matches!(event, e2ee_peer::Event::Ended(_)).then_some(())
            })
            .await?;
        step("phone    ─► gateway ─► E2EE user  BYE, discard");
        let heard = Heard {
            emojis_caller,
            emojis_callee: symbols(&emojis),
            spoken,
            tone_at_phone_hz: tone_at_phone,
            tone_at_peer_hz: tone_at_peer,
            setup_ms,
        };
        let faults = heard.faults(&emojis);
        ensure!(faults.is_empty(), "{}: {heard:?}", faults.join("; "));
        Ok(heard)
    }
}

/// The four emojis as text.
pub fn symbols(emojis: &[Emoji; 4]) -> [String; 4] {
    emojis.map(|emoji| emoji.symbol().to_owned())
}

/// The emojis of the only call that the gateway has.
fn caller_emojis(calls: &serde_json::Value) -> anyhow::Result<[String; 4]> {
    let list = calls[0]["emojis"].as_array().context("the gateway shows no emojis")?;
    let all: Vec<_> = list
        .iter()
        .filter_map(|emoji| emoji.as_str().map(str::to_owned))
        .collect();
    all.try_into().ok().context("the gateway does not show four emojis")
}

/// The strongest tone of the last half second, as soon as it is the wanted one; whatever it is when the time is up.
async fn tone_within(line: &line::Line, wanted: f32, limit: Duration) -> f32 {
    let end = Instant::now() + limit;
    loop {
        let audio = line.heard();
        let last = &audio[audio.len().saturating_sub(hear::RATE as usize / 2)..];
        let tone = hear::tone(last, hear::RATE).filter(|tone| tone.share > 0.8);
        let hz = tone.map_or(0.0, |tone| tone.hz);
        if (hz - wanted).abs() <= 5.0 || Instant::now() > end {
            return hz;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A password that a person can type: 12 letters and digits without look-alikes, from the system's generator.
fn password() -> String {
    const SIGNS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    (0..12)
        .map(|_| char::from(SIGNS[rand::random_range(0..SIGNS.len())]))
        .collect()
}
