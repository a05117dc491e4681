//! A stage of any of the three kinds, as host, tests and benchmarks see it, and `export!`, which makes it one.

use crate::columns::{Batch, Patch};
use crate::config::{self, Config, ConfigError};
use crate::contract::{Contract, Given};
use crate::outcome::Failure;
use crate::{Route, Stage, Transform};
use crate::{route, transform};

/// A configured stage.
pub trait Process {
    /// Works on a batch.
    fn process(&mut self, batch: Batch) -> Result<Patch, Failure>;
}

/// A stage that was exported: what `export!` implements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exported",
    label = "not a plugin",
    note = "write millstream_sdk::export!({Self});"
)]
pub trait Plugin {
    /// The name of the plugin's crate.
    const NAME: &'static str;
    /// The version of the plugin's crate.
    const VERSION: &'static str;

    /// The JSON schema of the config, as JSON text; none when the stage takes no config.
    fn config_schema() -> Option<String>;

    /// Reads the config (JSON text) and declares the contract; fails with what is wrong with the config and where.
    fn configure(config: &str, given: &Given) -> Result<(Contract, Box<dyn Process>), String>;
}

/// A type that implements one of [`Transform`], [`Route`] and [`Stage`]; `Kind` says which and is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no stage",
    label = "implements none of `Transform`, `Route`, `Stage`"
)]
pub trait AnyStage<Kind>: Sized {
    /// The stage's config.
    type Config: Config;

    /// Checks the config and declares the contract.
    fn configure(config: Self::Config, given: &Given) -> Result<(Contract, Box<dyn Process>), ConfigError>;
}

/// The kinds of stages, for the inference of [`AnyStage`].
pub mod kind {
    /// Implements `Transform`.
    #[derive(Debug)]
    pub struct Transform;
    /// Implements `Route`.
    #[derive(Debug)]
    pub struct Route;
    /// Implements `Stage`.
    #[derive(Debug)]
    pub struct Stage;
}

impl<T: for<'a> Transform<'a>> AnyStage<kind::Transform> for T {
    type Config = <T as Transform<'static>>::Config;

    fn configure(config: Self::Config, _: &Given) -> Result<(Contract, Box<dyn Process>), ConfigError> {
        Ok((transform::contract::<T>(), Box::new(transform::Rows(<T as Transform<'static>>::new(config)?))))
    }
}

impl<T: for<'a> Route<'a>> AnyStage<kind::Route> for T {
    type Config = <T as Route<'static>>::Config;

    fn configure(config: Self::Config, _: &Given) -> Result<(Contract, Box<dyn Process>), ConfigError> {
        Ok((route::contract::<T>(), Box::new(route::Rows(<T as Route<'static>>::new(config)?))))
    }
}

struct Batches<T>(T);

impl<T: Stage> Process for Batches<T> {
    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        self.0.process(batch)
    }
}

impl<T: Stage> AnyStage<kind::Stage> for T {
    type Config = T::Config;

    fn configure(config: T::Config, given: &Given) -> Result<(Contract, Box<dyn Process>), ConfigError> {
        let (stage, contract) = T::configure(config, given)?;
        Ok((contract, Box::new(Batches(stage))))
    }
}

/// `Plugin::configure` for the code of `export!`.
pub fn configure<T: AnyStage<Kind>, Kind>(config: &str, given: &Given) -> Result<(Contract, Box<dyn Process>), String> {
    let configured = config::parse::<T::Config>(config).and_then(|config| T::configure(config, given));
    configured.map_err(|error| error.to_string())
}

/// `Plugin::config_schema` for the code of `export!`.
pub fn config_schema<T: AnyStage<Kind>, Kind>() -> Option<String> {
    T::Config::json_schema()
}

/// Makes a [`Transform`], [`Route`] or [`Stage`] the plugin of its crate, once a crate.
///
/// It implements [`Plugin`] and, in a component, exports the functions of `wit/stage.wit`. Natively the crate stays an
/// ordinary library.
#[macro_export]
macro_rules! export {
    ($stage:ty) => {
        impl $crate::Plugin for $stage {
            const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");

            fn config_schema() -> ::core::option::Option<$crate::__private::String> {
                $crate::__private::config_schema::<$stage, _>()
            }

            fn configure(
                config: &str,
                given: &$crate::Given,
            ) -> ::core::result::Result<
                ($crate::Contract, $crate::__private::Box<dyn $crate::Process>),
                $crate::__private::String,
            > {
                $crate::__private::configure::<$stage, _>(config, given)
            }
        }

        #[cfg(target_family = "wasm")]
        const _: () = {
            type Component = $crate::__private::Component<$stage>;
    $crate::__private::export_component!(Component with_types_in $crate::__private::bindings);
        };
    };
}
