//! rtpengine as the subject: Debian's `rtpengine-daemon`, told by its ng protocol to transcode the same calls between PCMU over
//! plain RTP and Opus over ICE and DTLS-SRTP.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use quartet::media::{Bind, LegCodec, LegKey, MediaCommand, MediaEvent, Nack, Role, Sink};
use quartet_proto::sdp::{Codec, MediaDescription, SessionDescription};

use crate::ends::{Ends, Manner, Way};

const CONTROL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 22_222);
const SOON: Duration = Duration::from_secs(10);

/// A running rtpengine; it ends when this is dropped.
pub(crate) struct Subject {
    child: Child,
    control: UdpSocket,
    cookie: u32,
    calls: usize,
    opus: String,
}

/// One of the load's legs, with its events.
struct Leg {
    way: Way,
    events: Receiver<MediaEvent>,
    lines: String,
}

impl Subject {
    /// `opus` is what is asked of the transcoder, `opus` or for example `opus/48000/1`.
    pub(crate) fn start(opus: &str) -> anyhow::Result<Self> {
        let control = format!("--listen-ng={}:{}", CONTROL.0, CONTROL.1);
        let child = Command::new("rtpengine")
            .args([
                "--config-file=none",
                "--table=-1",
                "--interface=127.0.0.1",
                &control,
                "--foreground",
            ])
            .args([
                "--log-stderr",
                "--log-level=4",
                "--port-min=20000",
                "--port-max=32000",
                "--num-threads=2",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("rtpengine does not start; it is in Debian's package rtpengine-daemon")?;
        let control = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        control.connect(CONTROL)?;
        control.set_read_timeout(Some(Duration::from_millis(300)))?;
        let mut subject = Self {
            child,
            control,
            cookie: 0,
            calls: 0,
            opus: opus.to_owned(),
        };
        let end = Instant::now() + SOON;
        while subject
            .ask(&BTreeMap::from([("command", "4:ping".to_owned())]))
            .is_err()
        {
            if subject.child.try_wait()?.is_some() || Instant::now() > end {
                bail!("rtpengine does not answer on port {}; does another one run?", CONTROL.1);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        subject.control.set_read_timeout(Some(SOON))?;
        Ok(subject)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sets up one call with both its ends; how long it took, in ms.
    pub(crate) fn call(&mut self, ends: &mut Ends, manner: Manner) -> anyhow::Result<f64> {
        let phone = Leg::open(ends, manner, "rtp")?;
        let mut user = Leg::open(ends, manner, "webrtc")?;
        let began = Instant::now();
        let number = self.calls;
        self.calls += 1;
        let opus = format!("d4:maskl4:PCMUe9:transcodel{}ee", text(&self.opus));
        let flags = list(&["SDES-off", "no-rtcp-attribute"]);
        let offer = self.ask(&BTreeMap::from([
            ("command", text("offer")),
            ("call-id", text(&format!("call{number}"))),
            ("from-tag", text(&format!("from{number}"))),
            (
                "sdp",
                text(&sdp("RTP/AVP", "0", "a=rtpmap:0 PCMU/8000\r\n", &phone.lines)),
            ),
            ("replace", list(&["origin", "session-connection"])),
            ("rtcp-mux", list(&["offer", "require"])),
            ("codec", opus),
            ("transport-protocol", text("UDP/TLS/RTP/SAVPF")),
            ("ICE", text("force")),
            ("flags", flags),
        ]))?;
        let offer = media(&offer)?;
        let codec = offer
            .codecs
            .iter()
            .find(|codec| codec.name.eq_ignore_ascii_case("opus"))
            .context("no Opus offered")?;
        let map = format!(
            "a=rtpmap:{0} opus/48000/2\r\na=fmtp:{0} minptime=10;useinbandfec=1\r\n",
            codec.payload_type
        );
        user.tell(&offer, codec);
        // What it answers depends on what it was told.
        user.lines_now();
        let number_text = codec.payload_type.to_string();
        let answer = self.ask(&BTreeMap::from([
            ("command", text("answer")),
            ("call-id", text(&format!("call{number}"))),
            ("from-tag", text(&format!("from{number}"))),
            ("to-tag", text(&format!("to{number}"))),
            ("sdp", text(&sdp(&offer.profile, &number_text, &map, &user.lines))),
            ("replace", list(&["origin", "session-connection"])),
            ("rtcp-mux", list(&["demux"])),
            ("transport-protocol", text("RTP/AVP")),
            ("ICE", text("remove")),
            ("DTLS", text("off")),
        ]))?;
        let answer = media(&answer)?;
        let codec = answer.codecs.first().context("no codec answered")?;
        phone.tell(&answer, codec);
        user.wait_connected()?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    fn ask(&mut self, question: &BTreeMap<&str, String>) -> anyhow::Result<String> {
        self.cookie += 1;
        let cookie = format!("c{} ", self.cookie);
        let pairs: String = question.iter().map(|(key, value)| text(key) + value).collect();
        let whole = if question.len() == 1 {
            "d7:command4:pinge".to_owned()
        } else {
            format!("d{pairs}e")
        };
        self.control.send(format!("{cookie}{whole}").as_bytes())?;
        let mut buffer = vec![0; 65_535];
        loop {
            let length = self.control.recv(&mut buffer)?;
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if let Some(answer) = answer.strip_prefix(&cookie) {
                if answer.contains("6:result5:error") {
                    bail!("rtpengine refuses: {answer}");
                }
                return Ok(answer.to_owned());
            }
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Leg {
    fn open(ends: &mut Ends, manner: Manner, transport: &str) -> anyhow::Result<Self> {
        let (sender, events) = channel();
        let way = ends.leg(manner, Box::new(move |event| drop(sender.send(event))));
        way.command(MediaCommand::Open {
            leg: LegKey(1),
            same_worker_as: None,
            transport: transport.to_owned(),
            sink: Sink::Telephone,
            role: Role::Answer,
            bind: Bind {
                addresses: vec![Ipv4Addr::LOCALHOST.into()],
                components: 1,
                outer: Vec::new(),
            },
            options: String::new(),
            relay_only: false,
        });
        let mut leg = Self {
            way,
            events,
            lines: String::new(),
        };
        let end = Instant::now() + SOON;
        let wanted = if transport == "rtp" { "port:" } else { "candidate:" };
        while !leg.lines.contains(wanted) {
            if Instant::now() > end {
                bail!("a leg of the load says only {:?}", leg.lines);
            }
            leg.lines_now();
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(leg)
    }

    fn lines_now(&mut self) {
        for event in self.events.try_iter() {
            if let MediaEvent::Local { lines, .. } = event {
                self.lines += &lines;
            }
        }
    }

    fn tell(&self, media: &MediaDescription, codec: &Codec) {
        self.way.command(MediaCommand::Remote {
            leg: LegKey(1),
            lines: media.transport_lines(),
        });
        let codec = LegCodec {
            name: codec.name.clone(),
            clock: codec.clock,
            send_pt: codec.payload_type,
            receive_pt: codec.payload_type,
            send_fmtp: codec.fmtp.clone(),
            local_fmtp: String::new(),
            ptime_ms: 20,
            telephone_event: None,
            events: Vec::new(),
            also: Vec::new(),
            ssrc: 1,
            nack: Nack::Tacit,
        };
        self.way.command(MediaCommand::Codec { leg: LegKey(1), codec });
    }

    fn wait_connected(&self) -> anyhow::Result<()> {
        let end = Instant::now() + SOON;
        loop {
            match self
                .events
                .recv_timeout(end.saturating_duration_since(Instant::now()))?
            {
                MediaEvent::Connected { .. } => return Ok(()),
                MediaEvent::Failed { fault, .. } => bail!("a leg failed: {fault}"),
                MediaEvent::Local { .. }
                | MediaEvent::Played { .. }
                | MediaEvent::Dtmf { .. }
                | MediaEvent::State { .. }
                | MediaEvent::Report { .. }
                | MediaEvent::Closed { .. } => {}
            }
        }
    }
}

/// A description with one audio stream; `lines` are a transport's.
fn sdp(profile: &str, payload_type: &str, map: &str, lines: &str) -> String {
    let value = |name: &str| lines.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let port = value("port:").unwrap_or("9");
    let attributes: String = lines
        .lines()
        .filter(|line| {
            !["c:", "port:", "rtcp-port:", "rtcp-mux"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .map(|line| format!("a={}\r\n", line.trim()))
        .collect();
    // The default address is the candidate's: a peer may look at nothing else.
    let port = value("candidate:")
        .and_then(|line| line.split(' ').nth(5))
        .unwrap_or(port);
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} {profile} {payload_type}\r\n\
         {map}a=ptime:20\r\na=rtcp-mux\r\n{attributes}a=sendrecv\r\n"
    )
}

/// The audio stream of the description in an answer.
fn media(answer: &str) -> anyhow::Result<MediaDescription> {
    let (_, rest) = answer.split_once("3:sdp").context("no description")?;
    let (length, rest) = rest.split_once(':').context("no length")?;
    let body = rest.get(..length.parse()?).context("a description cut short")?;
    let description = SessionDescription::parse(body.as_bytes())?;
    description.media.into_iter().next().context("no stream")
}

fn text(value: &str) -> String {
    format!("{}:{value}", value.len())
}

fn list(values: &[&str]) -> String {
    format!("l{}e", values.iter().map(|value| text(value)).collect::<String>())
}
