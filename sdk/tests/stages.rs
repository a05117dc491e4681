//! What authors meet: contracts, configs, `?`, failures, the log, lookups.

use millstream_sdk::log::Level;
use millstream_sdk::prelude::*;
use millstream_sdk::{DeclaredLookup, LogicalType, Plugin, TimeUnit, json, testing};

#[derive(Input)]
struct Flight<'a> {
    #[column("tail_number")]
    tail: Option<&'a str>,
    delay: Option<i32>,
    #[lookup(table = "weather", key = ["origin", "hour"])]
    weather: Option<Weather<'a>>,
    #[lookup(table = "planes", key = "tail_number")]
    plane: Option<Plane>,
}

#[derive(Lookup)]
struct Weather<'a> {
    sky: Option<&'a str>,
    #[column("wind_speed")]
    wind: f64,
}

#[derive(Lookup)]
struct Plane {
    seats: Option<i32>,
}

#[derive(Output)]
struct Enriched<'a> {
    #[column(dictionary)]
    sky: Option<&'a str>,
    windy: Option<bool>,
    plane_known: bool,
    seats: Option<i32>,
}

#[config]
#[derive(Debug)]
struct Settings {
    limits: Limits,
    #[serde(default)]
    mode: Mode,
}

/// How fast wind may be.
#[config]
#[derive(Debug)]
struct Limits {
    wind: f64,
}

#[config]
#[derive(Debug, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Lenient,
    Strict,
}

struct Enrich(Settings);

impl<'a> Transform<'a> for Enrich {
    type Config = Settings;
    type In = Flight<'a>;
    type Out = Enriched<'a>;

    fn new(settings: Settings) -> Result<Self, ConfigError> {
        if settings.limits.wind < 0.0 {
            return Err(ConfigError::key("limits.wind", "must not be negative"));
        }
        Ok(Self(settings))
    }

    fn transform(&mut self, flight: Flight<'a>) -> Result<Emit<Enriched<'a>>, Reject> {
        match flight.delay {
            None => return Ok(Emit::none("cancelled")),
            Some(delay) if delay < 0 => return Ok(Emit::many([])),
            Some(1_000_000..) => return Err(Failure::retry("the moon").into()),
            Some(delay) => u8::try_from(delay).or_reject("absurd_delay")?,
        };
        if flight.tail.is_none() && self.0.mode == Mode::Strict {
            log::warn!("a flight of {:?} minutes without a plane", flight.delay);
            "x".parse::<i32>()?;
        }
        Ok(Emit::one(Enriched {
            sky: flight.weather.as_ref().and_then(|weather| weather.sky),
            windy: flight.weather.map(|weather| weather.wind > self.0.limits.wind),
            plane_known: flight.plane.is_some(),
            seats: flight.plane.and_then(|plane| plane.seats),
        }))
    }
}
millstream_sdk::export!(Enrich);

fn setup(config: serde_json::Value) -> testing::Setup {
    testing::Setup::new(config)
        .table(
            "weather",
            "origin: utf8, hour: timestamp(ms)",
            "sky: utf8?, wind_speed: float64",
            json!([
                { "origin": "JFK", "hour": "2013-01-01T05:00:00Z", "sky": "clear", "wind_speed": 3 },
                { "origin": "JFK", "hour": "2013-01-01T06:00:00Z", "wind_speed": 30 },
            ]),
        )
        .table("planes", "tail: utf8", "seats: int32?", json!([{ "tail": "N1", "seats": 100 }, { "tail": "N2" }]))
}

#[test]
fn the_contract_says_what_the_structs_say() {
    let plugin = setup(json!({ "limits": { "wind": 10 } })).configure::<Enrich>().expect("a good config");
    let field = Field::new;
    let contract = plugin.contract();
    assert_eq!(
        contract.reads,
        [field("tail_number", LogicalType::Utf8).nullable(), field("delay", LogicalType::Int32).nullable()]
    );
    assert_eq!(
        contract.lookups,
        [
            DeclaredLookup {
                table: "weather".to_owned(),
                key: vec!["origin".to_owned(), "hour".to_owned()],
                columns: vec![field("sky", LogicalType::Utf8).nullable(), field("wind_speed", LogicalType::Float64)],
            },
            DeclaredLookup {
                table: "planes".to_owned(),
                key: vec!["tail_number".to_owned()],
                columns: vec![field("seats", LogicalType::Int32).nullable()],
            },
        ]
    );
    assert_eq!(contract.writes.len(), 4);
    assert_eq!(contract.outputs, [""; 0]);
    assert_eq!(Enrich::NAME, "millstream-sdk");
}

#[test]
fn each_row_gets_its_own_fate() {
    let mut plugin = setup(json!({ "limits": { "wind": 10 }, "mode": "strict" })).configure::<Enrich>().expect("good");
    let at = |hour: &str| format!("2013-01-01T{hour}:00:00Z");
    let outcome = plugin.process(json!([
        { "origin": "JFK", "hour": at("05"), "tail_number": "N1", "delay": 3 },
        { "origin": "JFK", "hour": at("06"), "tail_number": "N2", "delay": 3 },
        { "origin": "LGA", "hour": at("06"), "tail_number": "N3", "delay": 3 },
        { "origin": "JFK", "hour": at("05"), "tail_number": "N1" },
        { "origin": "JFK", "hour": at("05"), "tail_number": "N1", "delay": 256 },
        { "origin": "JFK", "hour": null, "delay": 7 },
        { "delay": -1 },
    ]));
    assert_eq!(
        outcome.kept(),
        [
            (0, json!({ "sky": "clear", "windy": false, "plane_known": true, "seats": 100 })),
            (1, json!({ "sky": null, "windy": true, "plane_known": true, "seats": null })),
            (2, json!({ "sky": null, "windy": null, "plane_known": false, "seats": null })),
        ]
    );
    assert_eq!(outcome.filtered(), [(3, "cancelled"), (6, "empty")]);
    assert_eq!(
        outcome.rejects(),
        [
            (4, "absurd_delay", "out of range integral type conversion attempted"),
            (5, "error", "invalid digit found in string"),
        ]
    );
    assert_eq!(outcome.lines(), [(Level::Warn, "a flight of Some(7) minutes without a plane")]);
}

#[test]
fn a_failure_is_about_the_batch() {
    let mut plugin = setup(json!({ "limits": { "wind": 10 } })).configure::<Enrich>().expect("good");
    let outcome = plugin.try_process(json!([{ "delay": 1 }, { "delay": 1_000_000 }]));
    assert_eq!(outcome, Err(Failure::retry("the moon")));
}

#[test]
fn a_wrong_config_is_refused_by_the_key() {
    for (config, error) in [
        (json!({}), "config: missing field `limits`"),
        (json!({ "limits": {} }), "config key `limits`: missing field `wind`"),
        (json!({ "limits": { "wind": "x" } }), "config key `limits.wind`: invalid type: string \"x\", expected f64"),
        (json!({ "limits": { "wind": -1 } }), "config key `limits.wind`: must not be negative"),
        (
            json!({ "limits": { "wind": 1, "rain": 2 } }),
            "config key `limits.rain`: unknown field `rain`, expected `wind`",
        ),
        (
            json!({ "limits": { "wind": 1 }, "mode": "odd" }),
            "config key `mode`: unknown variant `odd`, expected `lenient` or `strict`",
        ),
    ] {
        assert_eq!(setup(config.clone()).configure::<Enrich>().err().as_deref(), Some(error), "{config}");
    }
}

#[test]
fn the_schema_of_the_config_names_its_keys() {
    let schema = Enrich::config_schema().expect("it takes a config");
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert_eq!(schema["required"], json!(["limits"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["$defs"]["Limits"]["description"], json!("How fast wind may be."));
}

#[derive(Input)]
struct Page {
    at: Timestamp,
}

#[derive(Routes)]
enum To {
    Views,
    #[output("archive")]
    Old,
}

struct RoutePages;

impl Route<'_> for RoutePages {
    type Config = ();
    type In = Page;
    type To = To;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn route(&mut self, page: Page) -> Result<Emit<To>, Reject> {
        Ok(match page.at.as_second() {
            0 => Emit::none("never"),
            1..100 => Emit::many([To::Views, To::Old]),
            100.. => Emit::one(To::Views),
            _ => return Err(Reject::new("before_1970", page.at.to_string())),
        })
    }
}
millstream_sdk::export!(RoutePages);

#[test]
fn a_row_goes_to_one_output_or_to_several() {
    let mut plugin = testing::configure::<RoutePages>(json!({})).expect("no config");
    assert_eq!(plugin.contract().outputs, ["views", "archive"]);
    assert_eq!(plugin.contract().reads, [Field::new("at", LogicalType::Timestamp(TimeUnit::Millisecond))]);
    let outcome = plugin.process(json!([{ "at": 100_000 }, { "at": 1_000 }, { "at": 0 }, { "at": -1_000 }]));
    assert_eq!(outcome.routes(), [(0, "views"), (1, "views"), (1, "archive")]);
    assert_eq!(outcome.filtered(), [(2, "never")]);
    assert_eq!(outcome.rejects(), [(3, "before_1970", "1969-12-31T23:59:59Z")]);
}

#[test]
fn a_stage_without_config_takes_no_key() {
    let error = testing::configure::<RoutePages>(json!({ "x": 1 })).err();
    assert_eq!(error.as_deref(), Some("config key `x`: unknown key: this stage takes no config"));
}

/// Answers composite keys that the stage computes itself.
struct Fetch;

#[derive(Input)]
struct Place<'a> {
    code: &'a str,
}

#[derive(Output)]
struct Sky {
    sky: Option<String>,
}

impl<'a> Transform<'a> for Fetch {
    type Config = ();
    type In = Place<'a>;
    type Out = Sky;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, place: Place<'a>) -> Result<Emit<Sky>, Reject> {
        let hour: Timestamp = "2013-01-01T05:00:00Z".parse()?;
        let answer = millstream_sdk::dimensions::get_many::<Weather>("weather", &[(place.code, hour)])?;
        let sky = answer.rows::<Weather>()?.get(0)?.and_then(|weather| weather.sky).map(str::to_owned);
        Ok(Emit::one(Sky { sky }))
    }
}
millstream_sdk::export!(Fetch);

#[test]
fn computed_keys_are_looked_up_by_call() {
    let mut plugin = setup(json!({})).configure::<Fetch>().expect("no config");
    let outcome = plugin.process(json!([{ "code": "JFK" }, { "code": "LGA" }]));
    assert_eq!(outcome.rows(), [json!({ "sky": "clear" }), json!({ "sky": null })]);

    let mut without_table = testing::configure::<Fetch>(json!({})).expect("no config");
    let failure = Failure::fatal("there is no table `weather`");
    assert_eq!(without_table.try_process(json!([{ "code": "JFK" }])), Err(failure));
}
