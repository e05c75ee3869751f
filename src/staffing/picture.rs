//! Forecast and plan as pictures.

use super::forecast::Expected;
use super::shifts::{Demand, Plan};
use crate::simulate::chart::{Line, Panel, chart};

const WEEKDAYS: [&str; 7] = ["пн", "вт", "ср", "чт", "пт", "сб", "вс"];

/// A week from Monday on: calls, operators, waits.
pub fn plan_picture(title: &str, demand: &Demand, plan: &Plan) -> String {
    let counted = |values: &[u32]| values.iter().map(|count| f64::from(*count)).collect();
    let line = |name, colour, filled, values| Line { name, colour, values, filled, steps: true };
    let panels = [
        Panel {
            title: "Вызовы за 15 минут (прогноз)", lines: vec![line("ожидается", "#2980b9", true, demand.calls.clone())]
        },
        Panel {
            title: "Операторы",
            lines: vec![
                line("на смене", "#27ae60", true, counted(&plan.on_duty)),
                line("нужно, Эрланг A", "#c0392b", false, counted(&plan.needed_a)),
                line("нужно, Эрланг C", "#e67e22", false, counted(&plan.needed_c)),
            ],
        },
        Panel {
            title: "Среднее ожидание, с (расчёт)", lines: vec![line("среднее", "#2c3e50", false, plan.mean_wait_s.clone())]
        },
    ];
    let ticks: Vec<(f64, String)> = (0..14)
        .map(|half| (half as f64 / 14.0, if half % 2 == 0 { WEEKDAYS[half / 2].to_owned() } else { "12:00".to_owned() }))
        .collect();
    chart(title, &ticks, &panels)
}

/// Days one after the other, each with its label.
pub fn forecast_picture(title: &str, days: &[(String, Vec<Expected>)]) -> String {
    let of = |value: fn(&Expected) -> f64| days.iter().flat_map(|(_, day)| day.iter().map(value)).collect();
    let line = |name, colour, values| Line { name, colour, values, filled: false, steps: false };
    let panel = Panel {
        title: "Вызовы за 15 минут",
        lines: vec![
            line("90 % не больше", "#bbb", of(|quarter| quarter.high)),
            line("ожидается", "#2980b9", of(|quarter| quarter.mean)),
            line("90 % не меньше", "#bbb", of(|quarter| quarter.low)),
        ],
    };
    let ticks: Vec<(f64, String)> =
        days.iter().enumerate().map(|(no, (label, _))| (no as f64 / days.len() as f64, label.clone())).collect();
    chart(title, &ticks, &[panel])
}
