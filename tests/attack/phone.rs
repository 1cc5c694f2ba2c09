//! A phone by hand: registers, dials, says a tone and hears. All it sends is known to the attacker, as to one who listens.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use codec_g711::law::{Law, MuLaw};
use quartet::demo::hear;
use quartet_tests::house::{PASSWORD, SOON};
use quartet_tests::tone::RtpTone;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::sip::{Message, Request, authorization, between, branch};
use crate::source::Source;

/// A phone may be answered this late: after three retransmissions, as on a bad line.
pub(crate) const ANSWERED: Duration = Duration::from_secs(8);

/// A SIP phone of the attacker.
pub(crate) struct Phone {
    pub(crate) source: Source,
    user: &'static str,
    rng: ChaCha8Rng,
    nonce: Option<String>,
    count: u32,
    registration: Request,
}

impl Phone {
    pub(crate) fn new(
        address: Ipv4Addr,
        gateway: SocketAddr,
        user: &'static str,
        mut rng: ChaCha8Rng,
    ) -> anyhow::Result<Self> {
        let source = Source::bind(address, gateway)?;
        let mut registration = Request::new("REGISTER", gateway, user, user, &mut rng);
        registration.more = "Expires: 300\r\n".into();
        Ok(Self {
            source,
            user,
            rng,
            nonce: None,
            count: 0,
            registration,
        })
    }

    /// Registers, or refreshes its registration.
    pub(crate) fn register(&mut self) -> anyhow::Result<()> {
        self.registration.cseq += 1;
        let mut request = self.registration.clone();
        let response = self.ask(&mut request)?;
        self.registration.cseq = request.cseq;
        ensure!(
            response.status() == 200,
            "phone {} is answered {} to its REGISTER",
            self.user,
            response.status()
        );
        Ok(())
    }

    /// Sends a request with its credentials; a challenge is met once.
    pub(crate) fn ask(&mut self, request: &mut Request) -> anyhow::Result<Message> {
        let plain = request.clone();
        for _ in 0..2 {
            *request = Request {
                branch: branch(&mut self.rng),
                cseq: request.cseq,
                ..plain.clone()
            };
            self.authorize(request);
            let limit = if request.method == "INVITE" { 2 * SOON } else { ANSWERED };
            let response = self.source.ask(request, limit)?;
            if response.status() != 401 {
                return Ok(response);
            }
            self.acknowledge(request, &response);
            self.nonce = response.nonce().map(str::to_owned);
            self.count = 0;
            request.cseq += 1;
        }
        anyhow::bail!("phone {} is challenged again although its password is right", self.user)
    }

    /// Adds its credentials, if it has a nonce.
    pub(crate) fn authorize(&mut self, request: &mut Request) {
        if let Some(nonce) = &self.nonce {
            self.count += 1;
            request.more += &authorization(request, self.user, PASSWORD, nonce, self.count);
        }
    }

    /// A request of this phone to a number.
    pub(crate) fn request(&mut self, method: &'static str, to: &str) -> Request {
        Request::new(method, self.source.gateway, self.user, to, &mut self.rng)
    }

    /// Acknowledges a refusal of an INVITE (RFC 3261 §17.1.1.3).
    pub(crate) fn acknowledge(&self, invite: &Request, refusal: &Message) {
        if invite.method == "INVITE" {
            let mut ack = invite.clone();
            ack.method = "ACK";
            ack.to = refusal.field("To").unwrap_or_default().into();
            (ack.more, ack.body) = (String::new(), String::new());
            self.source.send(ack.text(self.source.local).as_bytes());
        }
    }

    /// An INVITE to a number, with media at this address.
    pub(crate) fn invite(&mut self, to: &str, media: SocketAddr) -> Request {
        let mut request = self.request("INVITE", to);
        request.more = "Content-Type: application/sdp\r\n".into();
        request.body = sdp(media);
        request
    }

    /// Dials, and says a tone once the call stands.
    pub(crate) fn dial(&mut self, to: &str, hz: f32) -> anyhow::Result<PhoneCall> {
        let socket = UdpSocket::bind((self.source.local.ip(), 0))?;
        let mut invite = self.invite(to, socket.local_addr()?);
        let answer = self.ask(&mut invite)?;
        ensure!(
            answer.status() == 200,
            "{to} is dialled and the gateway says {}",
            answer.text
        );
        let mut ack = invite.clone();
        ack.method = "ACK";
        ack.branch = branch(&mut self.rng);
        ack.to = answer.field("To").context("no To")?.into();
        let contact = answer.field("Contact").context("no Contact")?;
        ack.uri = between(contact, "<", ">").context("no URI")?.into();
        (ack.more, ack.body) = (String::new(), String::new());
        self.source.send(ack.text(self.source.local).as_bytes());
        let host = between(&answer.text, "c=IN IP4 ", "\r\n").context("no address of media")?;
        let port = between(&answer.text, "m=audio ", " ").context("no port of media")?;
        let remote = SocketAddr::new(host.parse()?, port.parse()?);
        let voice = Voice::start(socket.try_clone()?, remote, hz, self.rng.next_u32());
        Ok(PhoneCall {
            invite,
            ack,
            remote,
            socket,
            voice,
        })
    }
}

/// An offer of PCMU.
pub(crate) fn sdp(media: SocketAddr) -> String {
    let (ip, port) = (media.ip(), media.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    )
}

/// A call that stands, and all that was said to set it up.
pub(crate) struct PhoneCall {
    /// As sent, with the branch of its transaction.
    pub(crate) invite: Request,
    /// Within the dialog: with the tags and the URI of all its requests.
    pub(crate) ack: Request,
    /// Where the gateway takes the phone's media.
    pub(crate) remote: SocketAddr,
    /// The phone's own media socket.
    pub(crate) socket: UdpSocket,
    voice: Voice,
}

impl PhoneCall {
    /// Waits until the last half second of what is heard is this tone.
    pub(crate) fn hears(&self, hz: f32) -> anyhow::Result<()> {
        let end = Instant::now() + 2 * SOON;
        loop {
            let tone = self.voice.tone();
            if tone.is_some_and(|tone| (tone.hz - hz).abs() <= 5.0 && tone.share > 0.9) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the phone hears {tone:?} instead of {hz} Hz");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Speech of a phone on a thread of its own; it ends when dropped.
struct Voice {
    heard: Arc<Mutex<Vec<i16>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Voice {
    fn start(socket: UdpSocket, remote: SocketAddr, hz: f32, ssrc: u32) -> Self {
        let (heard, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (ear, ended) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut tone = RtpTone::new(hz, ssrc);
            let (begin, mut sent) = (Instant::now(), 0u32);
            while !ended.load(Ordering::Relaxed) {
                let due = begin + Duration::from_millis(20) * sent;
                let wait = due.saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    socket.send_to(&tone.packet(), remote).ok();
                    sent += 1;
                    continue;
                }
                let mut buffer = [0; 2048];
                socket.set_read_timeout(Some(wait)).ok();
                if let Ok((length, _)) = socket.recv_from(&mut buffer)
                    && let Some(payload) = buffer.get(12..length)
                {
                    let mut heard = ear.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.extend(payload.iter().map(|byte| MuLaw::decode(*byte)));
                }
            }
        });
        Self {
            heard,
            stop,
            thread: Some(thread),
        }
    }

    /// The strongest tone of the last half second.
    fn tone(&self) -> Option<hear::Tone> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let last = heard.get(heard.len().checked_sub(hear::RATE as usize / 2)?..)?;
        hear::tone(last, hear::RATE)
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
