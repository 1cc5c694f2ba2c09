//! What reaches the ciphers without a key: first byte picks profile and kind.
#![no_main]
use libfuzzer_sys::fuzz_target;
use quartet_proto::rtp::srtp::{Inbound, Profile};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, packet)) = bytes.split_first() else {
        return;
    };
    let profile = [
        Profile::Aes128CmSha1_80,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
        Profile::Aes128CmSha1_32,
    ][usize::from(first >> 1 & 3)];
    let (key, salt) = profile.key_and_salt();
    let secret = vec![1; key + salt];
    let mut session = Inbound::new(profile, &secret).expect("lengths fit");
    session.announce(0x0102_0304);
    // Half of them: any stream may prove itself.
    if first & 8 != 0 {
        session.learn(&secret).expect("lengths fit");
    }
    let mut packet = packet.to_vec();
    let _ = if first & 1 == 0 {
        session.unprotect_rtp(&mut packet)
    } else {
        session.unprotect_rtcp(&mut packet)
    };
});
