//! Settings: three conf files, one struct per section, one table row per option.
