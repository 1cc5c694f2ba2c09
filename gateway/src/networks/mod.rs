//! Where E2EE users live: the verbs a network must carry.
