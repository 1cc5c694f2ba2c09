//! The client's half of a session: what goes on when its WebSocket does not.
//!
//! Sans-IO. The shell opens connections and says so; frames go in and out. Requests that were not answered are sent again on the
//! next connection of the same session, where the hub does them once.

use std::collections::{BTreeMap, VecDeque};

use super::{
    ClientFrame, ClientName, ErrorCode, Failure, Hello, MAX_ID, MessageError, PROTOCOL, Reply, Request, Resume,
    ServerFrame, Token, Welcome,
};

/// Requests that wait for their answers; beyond it the oldest is forgotten.
const MAX_UNANSWERED: usize = 8192;

/// What a frame of the hub means to a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The session goes on, or a first one has begun.
    Up(Box<Welcome>),
    /// Another session has begun: the hub knows nothing of what was.
    Anew(Box<Welcome>),
    /// The hello was refused, so that another try makes sense only later, or never.
    Refused(Failure),
    /// The frame is for the client.
    Frame(ServerFrame),
    /// It was for the session, or was heard before.
    Nothing,
}

/// The session of a client. Drain [`ClientSession::poll_transmit`] after every other call.
#[derive(Debug)]
pub struct ClientSession {
    token: Token,
    client: ClientName,
    receives: bool,
    resume: Option<Resume>,
    /// A first session has begun.
    has_begun: bool,
    /// The hello that waits for its answer; ids of hellos count down, those of requests up.
    hello: Option<u64>,
    next_hello: u64,
    is_up: bool,
    unanswered: BTreeMap<u64, String>,
    transmits: VecDeque<String>,
}

impl ClientSession {
    /// A session that has not begun.
    #[must_use]
    pub fn new(token: Token, client: ClientName) -> Self {
        Self {
            token,
            client,
            receives: true,
            resume: None,
            has_begun: false,
            hello: None,
            next_hello: MAX_ID,
            is_up: false,
            unanswered: BTreeMap::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Whether calls may come in, from the next hello on.
    pub fn set_receives(&mut self, receives: bool) {
        self.receives = receives;
    }

    /// Whether what is sent arrives.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// There is a connection: says hello.
    pub fn connected(&mut self) {
        self.disconnected();
        let id = self.next_hello;
        self.next_hello -= 1;
        self.hello = Some(id);
        let hello = Hello {
            protocol: PROTOCOL,
            client: self.client.clone(),
            token: self.token.clone(),
            resume: self.resume.clone(),
            receives: self.receives,
        };
        let frame = ClientFrame {
            id,
            request: Request::Hello(hello),
        };
        self.transmits.push_back(frame.to_text());
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        (self.is_up, self.hello) = (false, None);
        self.transmits.clear();
    }

    /// Sends a request, now or as soon as the session is up.
    pub fn send(&mut self, frame: &ClientFrame) {
        let text = frame.to_text();
        if self.is_up {
            self.transmits.push_back(text.clone());
        }
        if self.unanswered.len() >= MAX_UNANSWERED {
            self.unanswered.pop_first();
        }
        self.unanswered.insert(frame.id, text);
    }

    /// Takes a frame of the hub.
    ///
    /// # Errors
    /// [`MessageError`]: it is none, and has no effect.
    pub fn handle_input(&mut self, text: &str) -> Result<Heard, MessageError> {
        let (frame, is_new) = match ServerFrame::parse(text)? {
            ServerFrame::Answer { id, outcome } if id.is_some() && id == self.hello => {
                self.hello = None;
                return Ok(self.on_hello(outcome));
            }
            ServerFrame::Answer { id, outcome } => {
                let is_asked = id.is_some_and(|id| self.unanswered.remove(&id).is_some());
                (ServerFrame::Answer { id, outcome }, is_asked)
            }
            ServerFrame::Event { event, seq } => (ServerFrame::Event { event, seq }, self.is_new(seq)),
        };
        Ok(if is_new { Heard::Frame(frame) } else { Heard::Nothing })
    }

    /// Whether the event of this number was not heard before; one without a number cannot come twice.
    fn is_new(&mut self, seq: Option<u64>) -> bool {
        let (Some(seq), Some(resume)) = (seq, &mut self.resume) else {
            return true;
        };
        let is_new = seq > resume.last_seq;
        resume.last_seq = seq.max(resume.last_seq);
        is_new
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<String> {
        self.transmits.pop_front()
    }

    fn on_hello(&mut self, outcome: Result<Reply, Failure>) -> Heard {
        let welcome = match outcome {
            Ok(Reply::Welcome(welcome)) => welcome,
            Ok(Reply::Done | Reply::IceServers(_)) => return Heard::Nothing,
            Err(failure) if failure.code == ErrorCode::ResumeLost && self.resume.is_some() => {
                self.resume = None;
                // What was asked of a session that is no more has no answer.
                self.unanswered.clear();
                self.connected();
                return Heard::Nothing;
            }
            Err(failure) => return Heard::Refused(failure),
        };
        self.is_up = true;
        let last_seq = match &self.resume {
            Some(resume) if welcome.resumed => resume.last_seq,
            Some(_) | None => 0,
        };
        let parts = welcome.session.zip(welcome.resume_secret.clone());
        self.resume = parts.map(|(session, secret)| Resume {
            session,
            secret,
            last_seq,
            beside: false,
        });
        if std::mem::replace(&mut self.has_begun, true) && !welcome.resumed {
            self.unanswered.clear();
            return Heard::Anew(welcome);
        }
        self.transmits.extend(self.unanswered.values().cloned());
        Heard::Up(welcome)
    }
}
