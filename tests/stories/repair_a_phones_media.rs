//! A telephone that negotiates feedback (RTP/AVPF) and sends again what was lost (generic NACK, RFC 4585).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use quartet::demo::e2ee_peer::{Answering, Fault};
use quartet::demo::hear;
use quartet_proto::rtp::packet::Packet;
use quartet_proto::rtp::rtcp::{self, Reception};
use quartet_proto::sip::{NameAddr, OutgoingInvite, SipCommand, SipEvent, Uri};
use quartet_tests::house::{House, HouseSetup, PASSWORD, SOON, hears};
use quartet_tests::sip_stream::{Client, StreamPhone};
use quartet_tests::tone::RtpTone;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::PROGRAM;

const SSRC: u32 = 0x1234_5678;
const FRAME: Duration = Duration::from_millis(20);

/// Two sockets whose ports follow each other: RTP on the even one, RTCP behind it (RFC 3550 §11).
async fn media_sockets() -> (UdpSocket, UdpSocket) {
    loop {
        let bind = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        let rtp = bind(0).await.expect("a port");
        let port = rtp.local_addr().expect("bound").port();
        if port % 2 == 0
            && let Ok(rtcp) = bind(port + 1).await
        {
            return (rtp, rtcp);
        }
    }
}

/// Dials anna with feedback offered; the gateway's answer.
async fn dial(house: &House, phone: &mut StreamPhone, media: SocketAddr) -> String {
    let gateway = house.gateway.sip_over("tcp").expect("it is heard there");
    let uri = format!("sip:anna@{gateway};transport=tcp");
    let name = |user: &str| NameAddr::new(None, Uri::sip(user, gateway));
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVPF 0\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtcp-fb:* nack\r\n",
        ip = media.ip(),
        port = media.port()
    );
    let five_tuple = phone.way();
    let dialog = phone.endpoint().new_dialog_key();
    let invite = OutgoingInvite {
        dialog,
        request_uri: uri,
        five_tuple,
        origin: gateway,
        from: name("100"),
        to: name("anna"),
        identity: None,
        headers: Vec::new(),
        routes: Vec::new(),
        body: Some(offer.into_bytes()),
        credentials: Some(phone.credentials()),
        account: None,
        trunk: None,
        alternates: Vec::new(),
    };
    let command = SipCommand::Invite(Box::new(invite));
    phone
        .endpoint()
        .handle_command(Instant::now(), command)
        .expect("it can be dialled");
    loop {
        match phone.next(SOON).await.expect("it is connected") {
            Some(SipEvent::Accepted { body: Some(body), .. }) => {
                let ack = SipCommand::Ack { dialog, body: None };
                // With an offer of ours the machine acknowledges by itself.
                phone.endpoint().handle_command(Instant::now(), ack).ok();
                phone.next(Duration::ZERO).await.expect("it is connected");
                return String::from_utf8(body).expect("text");
            }
            Some(SipEvent::Rejected { status, reason, .. }) => panic!("{status} {reason}\n{}", house.gateway.log()),
            Some(_) => {}
            None => panic!("no answer\n{}", house.gateway.log()),
        }
    }
}

fn line<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(begin))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_phone_loses_is_asked_for_and_what_it_asks_for_is_sent_again() {
    let setup = HouseSetup {
        transports: &["tcp"],
        more: "[call]\nverify = \"off\"",
        phone: "codecs = [\"pcmu\"]",
        ..HouseSetup::default()
    };
    let house = House::build(PROGRAM, setup).await;
    let anna = house.user("anna", Answering::Take, Fault::None).await;
    let at = house.gateway.sip_over("tcp").expect("it is heard there");
    let stream = Client::trusting("").connect("tcp", at).await.expect("it connects");
    let mut phone = StreamPhone::new(stream, "100", PASSWORD);
    phone
        .register(Duration::from_secs(300))
        .await
        .expect("connected")
        .expect("registered");
    let (rtp, rtcp) = media_sockets().await;
    let answer = dial(&house, &mut phone, rtp.local_addr().expect("bound")).await;
    let audio = line(&answer, "m=audio ").expect("audio").to_owned();
    assert!(audio.ends_with("RTP/AVPF 0"), "{answer}");
    assert_eq!(line(&answer, "a=rtcp-fb:"), Some("* nack"), "{answer}");
    let port: u16 = audio
        .split(' ')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let (to, to_rtcp) = (
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv4Addr::LOCALHOST, port + 1)),
    );

    let tone = RtpTone::new(440.0, SSRC);
    let mut reception = Reception::new(hear::RATE);
    let (mut asked, mut buffer, mut report) = (Vec::new(), [0; 2_048], [0; 2_048]);
    let mut first_heard: Option<Vec<u8>> = None;
    let mut came_again = false;
    let begun = Instant::now();
    // As phones do: its first report says where it is told of what is missing.
    let report_of_nothing = [&[0x80, 201, 0, 1][..], &SSRC.to_be_bytes()].concat();
    for number in 0..300u16 {
        if number == 10 {
            rtcp.send_to(&report_of_nothing, to_rtcp).await.expect("sent");
        }
        // One packet in ten is lost on its first way.
        if number <= 20 || number % 10 != 0 {
            rtp.send_to(&tone.numbered(u32::from(number)), to).await.expect("sent");
        }
        // What comes until the next packet is due.
        let due = begun + FRAME * (u32::from(number) + 1);
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(wait) => break,
                received = rtcp.recv(&mut report) => {
                    let bytes = &report[..received.expect("received")];
                    let feedback = rtcp::read(bytes, 0, SSRC, None, &mut reception).expect("well made");
                    for wanted in feedback.asked {
                        asked.push(wanted);
                        rtp.send_to(&tone.numbered(u32::from(wanted)), to).await.expect("sent");
                    }
                }
                received = rtp.recv(&mut buffer) => {
                    let bytes = &buffer[..received.expect("received")];
                    came_again |= first_heard.as_deref() == Some(bytes);
                    if number >= 100 && first_heard.is_none() {
                        let heard = Packet::parse(bytes).expect("RTP");
                        let mut ask = [0; 256];
                        let length = rtcp::write_nack(&mut ask, SSRC, "phone", heard.ssrc, &[heard.sequence]).expect("room");
                        rtcp.send_to(&ask[..length], to_rtcp).await.expect("sent");
                        first_heard = Some(bytes.to_vec());
                    }
                }
            }
        }
    }
    hears(anna.line(), 440.0).await;
    assert!(came_again, "a packet that the phone asked for did not come again");
    asked.sort_unstable();
    asked.dedup();
    let expected: Vec<u16> = (21..300).filter(|number| number % 10 == 0).collect();
    assert_eq!(asked, expected, "what was lost, and nothing else, is asked for");
    anna.hang_up();
    timeout(SOON, async {
        while !matches!(phone.next(SOON).await, Ok(Some(SipEvent::Bye { .. }))) {}
    })
    .await
    .expect("the call ends");
    let record = house.record(1).await;
    // Of the last second no report has told.
    let figure = |name: &str| record["legs"][0][name].as_u64().expect("a number");
    assert!(figure("lost") >= 20 && figure("repaired") == figure("lost"), "{record}");
    // The first ones come before it is known that they do, and where this machine stands still for a moment some come too late.
    let late = figure("late");
    assert!(
        late <= figure("lost") / 2 && figure("concealed") <= 4 + late,
        "{record}"
    );
}
