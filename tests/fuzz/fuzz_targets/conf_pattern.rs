//! Whatever stands in a route and whatever is dialled (pattern, template, number, a line each): a match or none, never a
//! panic, in bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quartet::route::{Pattern, Template};

fuzz_target!(|texts: &str| {
    let mut lines = texts.splitn(3, '\n');
    let [pattern, template, number] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    if let (Ok(pattern), Ok(template)) = (pattern.parse::<Pattern>(), template.parse::<Template>())
        && let Some(captures) = pattern.matches(number)
    {
        let _ = template.expand(&captures);
    }
});
