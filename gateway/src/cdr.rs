//! Call records as JSON lines: one per call, written when it has ended or was refused.
//!
//! A record says who, when, how it ended and how well it was heard. It holds no key and not the emojis either: the four of a
//! call are for the two people in it. [`Record::to_line`] is pure; [`RecordFile`] is where the lines go.

mod cause;
mod file;
#[cfg(test)]
mod manual;
mod verdict;

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

pub use cause::{Cause, DiscardReason, Phase};
pub use file::RecordFile;
pub use verdict::Verdict;

/// Tells the wall clock's time of an instant: both clocks, read at the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The monotonic clock.
    pub now: Instant,
    /// The wall clock, which somebody may set.
    pub wall: SystemTime,
}

impl Clock {
    /// The time of day at that instant, past or coming.
    pub fn at(&self, instant: Instant) -> SystemTime {
        let ahead = instant.saturating_duration_since(self.now);
        let ago = self.now.saturating_duration_since(instant);
        self.wall
            .checked_add(ahead)
            .unwrap_or(self.wall)
            .checked_sub(ago)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Stands for caller and callee of calls that were refused to more callers than are told apart.
pub const MANY: &str = "*";

/// What is kept of a call.
///
/// The machines count in instants; the wall clock is asked once, when the record is handed to the store ([`Record::at`]). So
/// a clock that is set during a call changes no duration.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<T = SystemTime> {
    /// Our own key of the call, as `quartet calls` and the log show it; unique across restarts.
    pub call: String,
    /// When the first side asked for it.
    pub start: T,
    /// When it was answered; `None` if nobody did.
    pub answer: Option<T>,
    /// When it was over on both sides.
    pub end: T,
    /// Who called: a phone's user, or a user of the network.
    pub from: String,
    /// Who was called; as it was dialled, where no route was found.
    pub to: String,
    /// The number that the callee was shown as the caller, where it is another than `from`; empty: none was to be shown.
    pub shown: Option<String>,
    /// Which way it went.
    pub direction: Direction,
    /// The network, as in routes.conf; `None` if no route was found.
    pub network: Option<String>,
    /// The route that decided; `None` if none did.
    pub route: Option<String>,
    /// How it ended: a word of the table of causes.
    pub cause: &'static str,
    /// Who ended it.
    pub by: By,
    /// How many calls this stands for: more than one where a limit refused the same caller again and again, and only the
    /// last of a minute is kept.
    pub count: u32,
    /// Who took the place of one of the two, in order: the number that a phone transferred the call to, or whom it joined it with.
    pub transfers: Vec<String>,
    /// What became of the four emojis.
    pub verdict: Verdict,
    /// The sides that had media, the phone first.
    pub legs: Vec<LegFigures>,
}

/// Which way a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a phone to a network.
    Outgoing,
    /// From a network to phones.
    Incoming,
}

impl Direction {
    /// The word in the call record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }

    /// The direction of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Outgoing, Self::Incoming]
            .into_iter()
            .find(|direction| direction.word() == word)
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The person who called.
    Caller,
    /// The person who was called.
    Callee,
    /// The network, or a connection to it, went down.
    Network,
    /// This gateway: a limit, a time that was up, or something that failed.
    Gateway,
    /// `quartet hangup`.
    Operator,
}

impl By {
    /// The word in the call record and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Network => "network",
            Self::Gateway => "gateway",
            Self::Operator => "operator",
        }
    }
}

/// One side of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegFigures {
    /// Which one it is.
    pub side: Side,
    /// The SDP name of the codec; `None` if none was agreed.
    pub codec: Option<String>,
    /// How media was encrypted: the suite of SDES, or `DTLS-SRTP`; `None`: in clear.
    pub srtp: Option<&'static str>,
    /// Packets that arrived.
    pub received: u64,
    /// Packets that did not come by themselves.
    pub lost: u64,
    /// How often lost ones were asked for.
    pub asked: u64,
    /// Lost ones that came because of it.
    pub repaired: u64,
    /// Packets that came too late to be heard.
    pub late: u64,
    /// Packets whose sound was made up.
    pub concealed: u64,
    /// Of these the ones of which the next packet had something.
    pub restored: u64,
    /// Interarrival jitter at the end of the call.
    pub jitter_ms: u32,
    /// How long packets waited in the receiving buffer then.
    pub depth_ms: u32,
    /// By which way our packets went last: `direct`, `turn udp`, `turn tcp`, `turn tls`, `reflector udp` or `reflector tcp`; `None` if
    /// none went.
    pub path: Option<String>,
    /// The ways that were tried, in the same words, with why a server gave nothing.
    pub tried: Vec<String>,
    /// How many packets in a row were made up, on average; 0 if none was.
    pub in_a_row: f64,
    /// By how much what came was made longer or shorter.
    pub stretched_ms: u64,
    /// How old the sound is that leaves for the other side's ear, as far as it is known.
    pub mouth_to_ear_ms: Option<u32>,
    /// What that and the made-up sound are worth: ITU-T G.107, 1 to 4.4; `None` if nothing came.
    pub mos: Option<f64>,
    /// How what is sent was coded at the end, and why; `None` if the codec leaves no choice.
    pub sent_as: Option<String>,
    /// What the program at the far end speaks (layers, library versions); `None` if the network does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<String>,
    /// How long a packet took there and back, as last measured.
    pub round_trip_ms: Option<u32>,
    /// How long after the call was taken the leg heard and was heard; `None` if it never did.
    pub setup_ms: Option<u32>,
}

/// Which side of a call a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The telephone.
    Phone,
    /// The end-to-end encrypted one.
    Network,
}

impl Side {
    /// The word in the call record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Network => "network",
        }
    }
}

impl Record<SystemTime> {
    /// How long the people could talk: from the answer to the end.
    pub fn duration(&self) -> Duration {
        self.answer
            .and_then(|answer| self.end.duration_since(answer).ok())
            .unwrap_or_default()
    }

    /// The record as one line of JSON with its end.
    pub fn to_line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            call: &'a str,
            start: String,
            answer: Option<String>,
            end: String,
            from: &'a str,
            to: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            shown: Option<&'a str>,
            direction: Direction,
            network: Option<&'a str>,
            route: Option<&'a str>,
            cause: &'static str,
            by: By,
            #[serde(skip_serializing_if = "Option::is_none")]
            count: Option<u32>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            transfers: &'a [String],
            verdict: Verdict,
            legs: &'a [LegFigures],
            duration_ms: u64,
        }
        let line = serde_json::to_string(&Line {
            call: &self.call,
            start: rfc3339(self.start),
            answer: self.answer.map(rfc3339),
            end: rfc3339(self.end),
            from: &self.from,
            to: &self.to,
            shown: self.shown.as_deref(),
            direction: self.direction,
            network: self.network.as_deref(),
            route: self.route.as_deref(),
            cause: self.cause,
            by: self.by,
            count: Some(self.count).filter(|count| *count != 1),
            transfers: &self.transfers,
            verdict: self.verdict,
            legs: &self.legs,
            duration_ms: u64::try_from(self.duration().as_millis()).unwrap_or(u64::MAX),
        });
        line.expect("every field is a text, a number or a list of them") + "\n"
    }
}

impl Record<Instant> {
    /// The record in times of day.
    pub fn at(self, clock: &Clock) -> Record {
        Record {
            call: self.call,
            start: clock.at(self.start),
            answer: self.answer.map(|answer| clock.at(answer)),
            end: clock.at(self.end),
            from: self.from,
            to: self.to,
            shown: self.shown,
            direction: self.direction,
            network: self.network,
            route: self.route,
            cause: self.cause,
            by: self.by,
            count: self.count,
            transfers: self.transfers,
            verdict: self.verdict,
            legs: self.legs,
        }
    }
}

/// Writes a time in UTC with milliseconds: `2026-11-24T13:51:17.042Z`.
///
/// Times before year 0 or after 9999 become the nearest that has four digits. RFC 3339 §5.6.
pub fn rfc3339(time: SystemTime) -> String {
    let ms = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    // 0000-01-01 and 9999-12-31T23:59:59.999.
    let ms = ms.clamp(-62_167_219_200_000, 253_402_300_799_999);
    let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // The civil calendar in eras of 400 years that begin on the first of March, so that a leap day is the last of a year.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1000
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    pub(crate) fn record() -> Record {
        Record {
            call: "q7".to_owned(),
            start: at(1_795_528_277_042),
            answer: Some(at(1_795_528_280_000)),
            end: at(1_795_528_342_500),
            from: "100".to_owned(),
            to: "anna \"a\"\n".to_owned(),
            shown: None,
            direction: Direction::Outgoing,
            network: Some("hub".to_owned()),
            route: Some("people on the hub".to_owned()),
            cause: "answered",
            by: By::Caller,
            count: 1,
            transfers: Vec::new(),
            verdict: Verdict::Announced,
            legs: vec![
                LegFigures {
                    side: Side::Phone,
                    codec: Some("pcma".to_owned()),
                    srtp: None,
                    received: 3125,
                    lost: 2,
                    asked: 0,
                    repaired: 0,
                    late: 1,
                    concealed: 3,
                    restored: 0,
                    jitter_ms: 3,
                    depth_ms: 0,
                    path: Some("direct".to_owned()),
                    tried: vec!["direct".to_owned()],
                    in_a_row: 1.5,
                    stretched_ms: 20,
                    mouth_to_ear_ms: Some(44),
                    mos: Some(4.3),
                    sent_as: None,
                    speaks: None,
                    round_trip_ms: None,
                    setup_ms: Some(0),
                },
                LegFigures {
                    side: Side::Network,
                    codec: Some("opus".to_owned()),
                    srtp: Some("DTLS-SRTP"),
                    received: 3120,
                    lost: 9,
                    asked: 11,
                    repaired: 8,
                    late: 0,
                    concealed: 1,
                    restored: 1,
                    jitter_ms: 0,
                    depth_ms: 80,
                    path: Some("turn tcp".to_owned()),
                    tried: vec!["turn udp (timeout)".to_owned(), "turn tcp".to_owned()],
                    in_a_row: 1.0,
                    stretched_ms: 140,
                    mouth_to_ear_ms: Some(164),
                    mos: Some(4.2),
                    sent_as: Some("24 kbit/s in packets of 20 ms: the way is clear".to_owned()),
                    speaks: None,
                    round_trip_ms: Some(48),
                    setup_ms: Some(210),
                },
            ],
        }
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let expected = concat!(
            r#"{"call":"q7","start":"2026-11-24T13:51:17.042Z","answer":"2026-11-24T13:51:20.000Z","#,
            r#""end":"2026-11-24T13:52:22.500Z","from":"100","to":"anna \"a\"\n","direction":"outgoing","network":"hub","#,
            r#""route":"people on the hub","cause":"answered","by":"caller","verdict":"announced","#,
            r#""legs":[{"side":"phone","codec":"pcma","srtp":null,"received":3125,"lost":2,"asked":0,"repaired":0,"late":1,"concealed":3,"restored":0,"jitter_ms":3,"depth_ms":0,"path":"direct","tried":["direct"],"in_a_row":1.5,"stretched_ms":20,"mouth_to_ear_ms":44,"mos":4.3,"sent_as":null,"round_trip_ms":null,"setup_ms":0},"#,
            r#"{"side":"network","codec":"opus","srtp":"DTLS-SRTP","received":3120,"lost":9,"asked":11,"repaired":8,"late":0,"concealed":1,"restored":1,"jitter_ms":0,"depth_ms":80,"path":"turn tcp","tried":["turn udp (timeout)","turn tcp"],"in_a_row":1.0,"stretched_ms":140,"mouth_to_ear_ms":164,"mos":4.2,"sent_as":"24 kbit/s in packets of 20 ms: the way is clear","round_trip_ms":48,"setup_ms":210}],"duration_ms":62500}"#,
            "\n"
        );
        assert_eq!(record().to_line(), expected);
        let missed = Record {
            answer: None,
            network: None,
            route: None,
            legs: Vec::new(),
            cause: "missed",
            ..record()
        };
        let line = missed.to_line();
        assert!(
            line.contains(r#""answer":null"#) && line.contains(r#""legs":[],"duration_ms":0}"#),
            "{line}"
        );
    }

    #[test]
    fn times_are_utc() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_798_761_599_001, "2026-12-31T23:59:59.001Z"),
            (u64::MAX / 4, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(at(ms)), expected);
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        assert_eq!(rfc3339(before), "1969-12-31T23:59:59.999Z");
    }
}
