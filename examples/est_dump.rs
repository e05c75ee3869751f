use dozvon::simulate::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let roster = Roster::parse(&std::fs::read_to_string(&a[2]).unwrap()).unwrap();
    let t = match a[1].strip_prefix("gen:") {
        Some(spec) => {
            let p: Vec<f64> = spec.split(':').map(|x| x.parse().unwrap()).collect();
            trace(&Generator { days: p[1] as u32, calls_per_month: p[2], hour_cv: p[3], ..Generator::default() }.rows(p[0] as u64))
        }
        None => Trace::parse(&std::fs::read_to_string(&a[1]).unwrap()).unwrap(),
    };
    let told = told(&t, &roster, a.get(3).map_or(Router::Default, |p| p.parse().unwrap()), std::time::Duration::ZERO).unwrap();
    let f = estimate_figures("x", &told);
    for (h, x) in &f.hours { println!("{h:3} told {:6} served {:6} cov {:.3} km {:.3} wait {:.1} bias {:.1} mae {:.1}", x.told, x.served, x.coverage, x.coverage_censored, x.mean_wait_s, x.estimators["mean"].mean_error_s, x.estimators["mean"].mean_absolute_error_s); }
    println!("all told {} served {} cov {:.3} km {:.3}", f.all.told, f.all.served, f.all.coverage, f.all.coverage_censored);
    for (n, e) in &f.all.estimators { println!("{n:12} {e:.2?}"); }
    println!("{:?}", f.announcements);
    println!("out: {:?}", f.hours.iter().filter(|(_, x)| !(0.75..=0.85).contains(&x.coverage)).map(|(h, x)| (*h, x.served, x.coverage)).collect::<Vec<_>>());
}
