//! A phone in a browser: Chromium from Debian, without a screen, and JsSIP in a page that a server of the test's own shows it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quartet_proto::sip::Uri;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

use crate::peers;

/// How long a page waits for an order before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(20);

/// Where the page will be: a gateway must know its origin.
#[derive(Debug)]
pub struct Page(TcpListener);

/// How the phone is set up.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Account and password.
    pub user: &'a str,
    pub password: &'a str,
    /// The gateway, and `ws` or `wss`.
    pub gateway: SocketAddr,
    pub transport: &'a str,
    /// The tone that it says.
    pub tone_hz: u32,
}

/// A running browser; it is ended and its folder removed when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    folder: PathBuf,
    orders: mpsc::UnboundedSender<Value>,
    told: mpsc::UnboundedReceiver<Value>,
    /// What was told and nobody has waited for yet.
    pub events: VecDeque<Value>,
}

impl Page {
    /// Takes a port for the page.
    pub async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    /// What the browser will name as the page's origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("it is bound"))
    }
}

impl Browser {
    /// Starts it, or none (with a visible line) where it or JsSIP is not installed. It registers by itself.
    pub fn start(page: Page, setup: &Setup<'_>) -> Option<Self> {
        let program = peers::program("chromium")?;
        let jssip = peers::web()?;
        let folder = std::env::temp_dir().join(format!("q-browser-{}-{}", std::process::id(), setup.gateway.port()));
        std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let place = format!(
            "{}/phone.html?server={}://{}&domain={}&user={}&password={}&tone={}",
            page.origin(),
            setup.transport,
            setup.gateway,
            Uri::sip("", setup.gateway).host,
            setup.user,
            setup.password,
            setup.tone_hz
        );
        let (orders, next) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(serve(page.0, jssip, Arc::new(Mutex::new(next)), tell));
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--allow-loopback-in-peer-connection",
                "--autoplay-policy=no-user-gesture-required",
                // The gateway's certificate is of an authority that this test has made.
                "--ignore-certificate-errors",
            ])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg(place)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("chromium starts");
        Some(Self {
            child,
            folder,
            orders,
            told,
            events: VecDeque::new(),
        })
    }

    /// Gives an order, as the page knows it.
    pub fn order(&self, order: Value) {
        self.orders.send(order).expect("the page's server runs");
    }

    /// Waits for an event of that name; what comes before it is kept for others.
    pub async fn wait(&mut self, event: &str, limit: Duration) -> Value {
        let end = Instant::now() + limit;
        loop {
            if let Some(place) = self.events.iter().position(|told| told["event"] == event) {
                return self.events.remove(place).expect("it is there");
            }
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.told.recv()).await {
                Ok(Some(told)) => self.events.push_back(told),
                Ok(None) | Err(_) => panic!(
                    "chromium: no {event} within {limit:?}; {:?}\n{}",
                    self.events,
                    self.log()
                ),
            }
        }
    }

    /// Waits until the page hears this tone the loudest.
    pub async fn hears(&mut self, wanted: f32, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            self.order(json!({ "order": "hears" }));
            let hz = self.wait("hears", limit).await["hz"].clone();
            if hz.as_f64().is_some_and(|hz| (hz - f64::from(wanted)).abs() <= 8.0) {
                return;
            }
            assert!(
                Instant::now() < end,
                "the page hears {hz} and not {wanted}: {:?}",
                self.events
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

type Orders = Arc<Mutex<mpsc::UnboundedReceiver<Value>>>;

async fn serve(listener: TcpListener, jssip: PathBuf, orders: Orders, tell: mpsc::UnboundedSender<Value>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, jssip.clone(), Arc::clone(&orders), tell.clone()));
    }
}

/// Answers one request, and closes the connection.
async fn answer(mut stream: TcpStream, jssip: PathBuf, orders: Orders, tell: mpsc::UnboundedSender<Value>) {
    let Some((line, body)) = request(&mut stream).await else {
        return;
    };
    let path = line.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let own = |name: &str| std::fs::read(peers::root().join("tests/peers/web").join(name)).unwrap_or_default();
    let (status, kind, content) = match path {
        "/phone.html" => ("200 OK", "text/html", own("phone.html")),
        "/phone.js" => ("200 OK", "text/javascript", own("phone.js")),
        "/jssip.js" => ("200 OK", "text/javascript", std::fs::read(&jssip).unwrap_or_default()),
        "/next" => {
            let mut orders = orders.lock().await;
            match tokio::time::timeout(ASK_AGAIN, orders.recv()).await {
                Ok(Some(order)) => ("200 OK", "application/json", order.to_string().into_bytes()),
                Ok(None) | Err(_) => ("204 No Content", "application/json", Vec::new()),
            }
        }
        "/event" => {
            if let Ok(event) = serde_json::from_slice(&body) {
                tell.send(event).ok();
            }
            ("200 OK", "application/json", b"{}".to_vec())
        }
        _ => ("404 Not Found", "text/plain", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).await.ok();
    stream.write_all(&content).await.ok();
}

/// The first line of a request, and its body.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse().ok())?
            });
            let body = bytes.split_off(head.len() + 4);
            if body.len() >= length.unwrap_or(0) {
                return Some((head.lines().next()?.to_owned(), body));
            }
            bytes.extend(body);
        }
        let mut more = [0; 8192];
        match stream.read(&mut more).await {
            Ok(count @ 1..) => bytes.extend(&more[..count]),
            Ok(_) | Err(_) => return None,
        }
    }
}
