//! Whatever stands in a route and whatever is dialled: a match or none, never a panic, in bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (pattern, template, number) = texts;
    if let (Ok(pattern), Ok(template)) =
        (pattern.parse::<quartet::route::Pattern>(), template.parse::<quartet::route::Template>())
    {
        if let Some(captures) = pattern.matches(number) {
            let _ = template.expand(&captures);
        }
    }
});
