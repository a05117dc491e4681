//! Lines for the host's log, rate-limited there and tagged with pipeline, stage and digest:
//! `log::warn!("no time zone for {airport}")`.

use std::fmt;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use to the author of the plugin.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// Hands a line to the host; the macros of this module call it.
pub fn write(level: Level, line: fmt::Arguments<'_>) {
    crate::host::log(level, &line.to_string());
}

macro_rules! levels {
    ($d:tt $($hidden:ident, $name:ident, $level:ident, $text:literal;)*) => {$(
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $hidden {
            ($d($d part:tt)+) => {
                $crate::log::write($crate::log::Level::$level, ::core::format_args!($d($d part)+))
            };
        }

        #[doc = $text]
        pub use $hidden as $name;
    )*};
}

levels! { $
    __log_debug, debug, Debug, "A line of level `debug`, formatted like `format!`.";
    __log_info, info, Info, "A line of level `info`, formatted like `format!`.";
    __log_warn, warn, Warn, "A line of level `warn`, formatted like `format!`.";
    __log_error, error, Error, "A line of level `error`, formatted like `format!`.";
}
