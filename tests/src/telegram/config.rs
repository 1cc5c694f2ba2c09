//! What the service says of itself.

use grammers_tl_types::types;

use super::mtproto::unix;

/// The answer to `help.getConfig`: the times of calls matter, the rest is as small as it may be.
pub(super) fn config((receive_ms, ring_ms): (i32, i32)) -> types::Config {
    types::Config {
        default_p2p_contacts: false,
        preload_featured_stickers: false,
        revoke_pm_inbox: false,
        blocked_mode: false,
        force_try_ipv6: false,
        date: unix(),
        expires: unix() + 3_600,
        test_mode: true,
        this_dc: 2,
        dc_options: Vec::new(),
        dc_txt_domain_name: String::new(),
        chat_size_max: 200,
        megagroup_size_max: 200,
        forwarded_count_max: 100,
        online_update_period_ms: 120_000,
        offline_blur_timeout_ms: 5_000,
        offline_idle_timeout_ms: 30_000,
        online_cloud_timeout_ms: 300_000,
        notify_cloud_delay_ms: 30_000,
        notify_default_delay_ms: 1_500,
        push_chat_period_ms: 60_000,
        push_chat_limit: 2,
        edit_time_limit: 1,
        revoke_time_limit: 1,
        revoke_pm_time_limit: 1,
        rating_e_decay: 1,
        stickers_recent_limit: 1,
        channels_read_media_period: 1,
        tmp_sessions: None,
        call_receive_timeout_ms: receive_ms,
        call_ring_timeout_ms: ring_ms,
        call_connect_timeout_ms: 30_000,
        call_packet_timeout_ms: 10_000,
        me_url_prefix: String::new(),
        autoupdate_url_prefix: None,
        gif_search_username: None,
        venue_search_username: None,
        img_search_username: None,
        static_maps_provider: None,
        caption_length_max: 1_024,
        message_length_max: 4_096,
        webfile_dc_id: 4,
        suggested_lang_code: None,
        lang_pack_version: None,
        base_lang_pack_version: None,
        reactions_default: None,
        autologin_token: None,
    }
}
