//! The visible main job: a SIP phone and an E2EE peer over real sockets.
