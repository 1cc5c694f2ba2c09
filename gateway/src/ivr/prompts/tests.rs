//! Tests of [`super`]: good, bad and broken prompts.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use quartet_proto::e2ee::fingerprint::Emoji;

use super::*;
use crate::ivr::{phrase::Phrase, script};

/// libopus itself, where the gateway has the plugin.
fn libopus() -> Box<OpenDecoder> {
    Box::new(|| {
        let mut decoder = opus::Decoder::new(recording::OPUS_RATE, opus::Channels::Mono)?;
        Ok(Box::new(move |packet: &[u8], pcm: &mut [i16]| {
            Ok(decoder.decode(packet, pcm, false)?)
        }))
    })
}

const MENU: PromptId = PromptId::Phrase(Phrase::Menu);

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "quartet-prompts-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, file: &str, bytes: &[u8]) -> Self {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// What loading says, without the folder's own path.
    fn errors(&self) -> Vec<String> {
        let errors = Prompts::load(&self.0, libopus()).expect_err("the folder is not well");
        errors
            .iter()
            .map(|error| error.to_string().replace(&self.0.display().to_string(), "DIR"))
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A WAV file of this many samples, all of the same value.
fn wave(value: i16, samples: usize) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for _ in 0..samples {
        writer.write_sample(value).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// The recordings in the program by name.
fn recordings() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    BUILTIN.files().filter_map(|file| {
        let name = file.path().to_str().unwrap().strip_suffix(".opus")?;
        Some((name, file.contents()))
    })
}

#[test]
fn every_prompt_has_a_recording_and_says_what_the_tables_say() {
    let list = BUILTIN.get_file("prompts.tsv").unwrap().contents_utf8().unwrap();
    let texts: BTreeMap<&str, &str> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let names: BTreeSet<&str> = recordings().map(|(name, _)| name).collect();
    assert_eq!(names, texts.keys().copied().collect(), "run gateway/prompts/make.py");
    assert_eq!(names.len(), PromptId::all().count());
    for id in PromptId::all() {
        let text = match id {
            PromptId::Emoji(emoji) => emoji.word(),
            PromptId::Phrase(phrase) => phrase.text(),
        };
        assert_eq!(texts.get(id.to_string().as_str()), Some(&text), "{id}");
    }
}

#[test]
fn every_recording_in_the_program_can_be_heard() {
    let mut prompts = Prompts::builtin(libopus());
    for id in PromptId::all() {
        let sound = prompts.sound("en", id).unwrap();
        let seconds = sound.duration().as_secs_f64();
        assert!((0.3..6.0).contains(&seconds), "{id}: {seconds} s");
        let peak = sound.samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((3_000..30_000).contains(&peak), "{id}: peak {peak}");
    }
}

#[test]
fn the_recordings_add_little_to_the_program() {
    let size: usize = recordings().map(|(_, bytes)| bytes.len()).sum();
    assert!(size < 1_500_000, "{size}");
}

#[test]
fn an_announcement_is_short_enough_to_listen_to() {
    let mut prompts = Prompts::builtin(libopus());
    let mut lengths = Vec::new();
    for first in (0..332).step_by(4) {
        let emojis = [0, 1, 2, 3].map(|n| Emoji::new(first + n).unwrap());
        let clips = prompts.clips("en", &script::announcement(&emojis)).unwrap();
        assert_eq!(clips.len(), 10);
        lengths.push(clips.iter().map(Clip::duration).sum::<Duration>());
    }
    let mean = lengths.iter().sum::<Duration>() / u32::try_from(lengths.len()).unwrap();
    println!(
        "announcement: {:?} to {:?}, mean {mean:?}",
        lengths.iter().min(),
        lengths.iter().max()
    );
    assert!(lengths.iter().max() < Some(&Duration::from_secs(11)));
    assert!(mean < Duration::from_secs(9));
}

#[test]
fn every_script_becomes_sound() {
    let mut prompts = Prompts::builtin(libopus());
    let emojis = [5, 5, 7, 9].map(|index| Emoji::new(index).unwrap());
    for script in [
        script::confirm(&emojis),
        script::verified(),
        script::not_verified(),
        script::invalid_choice(),
    ] {
        let clips = prompts.clips("en", &script).unwrap();
        assert_eq!(clips.len(), script.len());
        for (clip, line) in clips.iter().zip(&script) {
            assert_eq!(matches!(clip, Clip::Sound(_)), matches!(line, Line::Say(_)));
        }
    }
}

#[test]
fn a_recording_is_decoded_once() {
    let mut prompts = Prompts::builtin(libopus());
    let first = prompts.sound("en", MENU).unwrap();
    assert!(Arc::ptr_eq(&first, &prompts.sound("en", MENU).unwrap()));
    assert!(
        Arc::ptr_eq(&first, &prompts.sound("xx", MENU).unwrap()),
        "the same for all who have no own"
    );
}

#[test]
fn an_operators_file_comes_first_and_the_rest_from_the_program() {
    let folder = Folder::new()
        .with("en/menu.wav", &wave(7, 800))
        .with(
            "en/emoji-017.opus",
            include_bytes!("../../../prompts/en/emoji-018.opus"),
        )
        .with("en/prompts.tsv", b"not looked at")
        .with("en/.hidden.wav", b"not looked at")
        .with("README", b"not looked at");
    let mut prompts = Prompts::load(&folder.0, libopus()).unwrap();
    assert_eq!(
        *prompts.sound("en", MENU).unwrap(),
        Sound {
            rate: 8_000,
            samples: vec![7; 800]
        }
    );
    let [own, other] = [17, 18].map(|index| {
        prompts
            .sound("en", PromptId::Emoji(Emoji::new(index).unwrap()))
            .unwrap()
    });
    assert_eq!(own, other);
    let mut builtin = Prompts::builtin(libopus());
    for id in [PromptId::Phrase(Phrase::Hold), PromptId::Emoji(Emoji::new(0).unwrap())] {
        assert_eq!(prompts.sound("en", id).unwrap(), builtin.sound("en", id).unwrap());
    }
}

#[test]
fn the_nearest_language_speaks() {
    let mut folder = Folder::new()
        .with("de/menu.wav", &wave(1, 8))
        .with("en/menu.wav", &wave(2, 8));
    for index in 0..333 {
        folder = folder.with(&format!("de/emoji-{index:03}.wav"), &wave(3, 8));
    }
    let mut prompts = Prompts::load(&folder.0, libopus()).unwrap();
    for (language, first) in [("de", 1), ("de-AT", 1), ("DE", 1), ("en", 2), ("fr", 2), ("", 2)] {
        assert_eq!(prompts.sound(language, MENU).unwrap().samples[0], first, "{language}");
    }
    let speaks = ["de", "de-AT", "DE", "en", "en-GB", "fr", ""].map(|language| prompts.speaks(language));
    assert_eq!(speaks, [true, true, true, true, true, false, false]);
    let hold = PromptId::Phrase(Phrase::Hold);
    assert_eq!(prompts.sound("de", hold).unwrap(), prompts.sound("en", hold).unwrap());
}

#[test]
fn each_mistake_in_a_folder_is_named_with_what_to_do() {
    let missing = Folder::new();
    fs::remove_dir(&missing.0).unwrap();
    assert!(
        missing.errors()[0].starts_with("DIR: cannot be read"),
        "{:?}",
        missing.errors()
    );

    let flat = Folder::new().with("menu.opus", b"");
    assert_eq!(
        flat.errors(),
        ["DIR: has no folder of a language in it; put the recordings into DIR/en"]
    );

    let wrong = Folder::new()
        .with("en/emoji-333.opus", b"")
        .with("en/menu.mp3", b"")
        .with("en/hold.opus", &include_bytes!("../../../prompts/en/hold.opus")[..900])
        .with("en/hash.opus", include_bytes!("../../../prompts/en/hash.opus"))
        .with("en/hash.wav", &wave(1, 8))
        .with("en/busy.wav", &vec![0; 2 * 1024 * 1024 + 1]);
    assert_eq!(
        wrong.errors(),
        [
            "DIR/en/busy.wav: is too large; a file may have 2 MiB, and all together 64 MiB",
            "DIR/en/emoji-333.opus: nothing is called that; the names are those of the recordings in gateway/prompts/en",
            "DIR/en/hash.wav: there is the same prompt in another format beside it; remove one of the two",
            "DIR/en/menu.mp3: only .opus and .wav are read; convert it, for example with opusenc",
            "DIR/en/hold.opus: is cut off; copy or encode it again",
        ]
    );

    let half = Folder::new().with("de/emoji-000.wav", &wave(1, 8));
    assert_eq!(
        half.errors(),
        ["DIR/de: lacks 332 of the 333 emoji words, first emoji-001; a language needs all of them"]
    );
}

#[test]
fn without_a_decoder_only_wav_can_be_heard() {
    let none = || -> Box<OpenDecoder> { Box::new(|| Err("no codec is called opus".into())) };
    let error = Prompts::builtin(none())
        .sound("en", MENU)
        .expect_err("nothing decodes")
        .to_string();
    assert_eq!(
        error,
        "menu: cannot be decoded (no codec is called opus); encode it again, and see that the plugin codec-opus is loaded"
    );
    let folder = Folder::new().with("en/menu.wav", &wave(1, 8));
    assert!(Prompts::load(&folder.0, none()).unwrap().sound("en", MENU).is_ok());
}
