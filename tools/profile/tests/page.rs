//! The page as text: what stands in it, and that nothing of the report becomes markup.

#[path = "page_sample/mod.rs"]
mod page_sample;

use page_sample as sample;
use redoubt_profile::{html, model};

/// What a report's text may never begin in the page: everything there is made by the page itself.
fn elements(page: &str, name: &str) -> usize {
    page.matches(&format!("<{name}")).count()
}

#[test]
fn the_page_is_a_function_of_the_report() {
    let page = html::page(&sample::whole()).unwrap();
    assert_eq!(page, html::page(&sample::whole()).unwrap());
    assert_ne!(page, html::page(&sample::without_a_system()).unwrap());
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let page = html::page(&sample::whole()).unwrap();
    assert!(page.contains("default-src 'none'"));
    for forbidden in
        ["src=\"", "@import", "url(", "<link", "<iframe", "fetch(", "XMLHttpRequest", "import("]
    {
        assert!(!page.contains(forbidden), "the page has {forbidden}");
    }
    let outside: Vec<&str> =
        page.split("http").skip(1).map(|rest| &rest[..rest.len().min(30)]).collect();
    for address in outside {
        let harmless =
            address.starts_with("-equiv=") || address.starts_with("://www.w3.org/2000/svg");
        assert!(harmless, "the page names an address: http{address}");
    }
}

#[test]
fn hostile_names_do_not_become_markup() {
    let page = html::page(&sample::whole()).unwrap();
    assert_eq!(elements(&page, "img"), 0);
    assert_eq!(elements(&page, "script"), 2, "the report's and the page's own");
    assert_eq!(page.matches("</script").count(), 2);
    assert_eq!(page.matches("<!--").count(), 0);
    assert!(!page.contains(['\u{2028}', '\u{2029}', '\0']));

    let mut report = sample::one_system();
    let hostile = sample::HOSTILE.join(" ");
    let system = &mut report.systems[0];
    for text in [
        &mut system.title,
        &mut system.version,
        &mut system.boundary,
        &mut report.command,
        &mut report.qemu,
    ] {
        text.clone_from(&hostile);
    }
    for image in system.privileged.iter_mut().chain(&mut system.vertical) {
        (image.name, image.what) = (hostile.clone(), hostile.clone());
    }
    system.workloads[0].name.clone_from(&hostile);
    system.workloads[0].entries[0].cause.clone_from(&hostile);
    report.density.sources.push(hostile.clone());
    report.missing.push(model::Missing {
        system: hostile.clone(),
        workload: Some(hostile.clone()),
        reason: hostile,
    });
    let page = html::page(&report).unwrap();
    assert_eq!((elements(&page, "img"), elements(&page, "script")), (0, 2));
    assert_eq!(page.matches("</script").count(), 2);
    assert_eq!(page.matches("<!--").count(), 0);
    assert!(page.contains("&lt;img src=x onerror=document.title=&#39;broken&#39;&gt;"));
    assert_eq!(elements(&page, "style"), 1);
    // The placeholder in a name stays what it is.
    assert!(page.contains("{{report}}"));
}

#[test]
fn the_scripts_never_parse_markup() {
    let page = html::page(&sample::no_system()).unwrap();
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
        "srcdoc",
    ] {
        assert!(!page.contains(forbidden), "a script uses {forbidden}");
    }
}

#[test]
fn without_a_script_the_numbers_are_there() {
    let report = sample::whole();
    let page = html::page(&report).unwrap();
    let (markup, _) = page.split_once("<script").unwrap();
    assert!(markup.contains("<noscript>"));
    let (_, table) = markup.split_once("id=\"numbers\"").unwrap();
    let (table, rest) = table.split_once("</table>").unwrap();
    let rows: usize = report.systems.iter().map(|system| system.workloads.len()).sum();
    assert_eq!(table.matches("<tr").count(), rows + 1);
    assert!(table.contains("<th scope=\"row\"><bdi>Redoubt</bdi></th>"));
    for system in &report.systems {
        assert!(
            rest.contains(system.boundary.as_str()),
            "why {} counts what it counts",
            system.name
        );
    }
    for source in &report.density.sources {
        assert!(rest.contains(source.as_str()));
    }
    assert!(rest.contains("the domain’s console did not answer"));
    assert!(markup.contains("Not everything was measured"));
}

#[test]
fn a_row_of_the_table_by_hand() {
    let mut report = sample::one_system();
    let system = &mut report.systems[0];
    system.privileged[0].lines = 5_000;
    let workload = &mut system.workloads[0];
    workload.horizontal = model::Measure { functions: 321, lines: 1_234, instructions: 9_876_543 };
    let lines = |lines| model::Measure { functions: 1, lines, instructions: 1 };
    workload.by_origin =
        vec![(model::Origin::Boot, lines(1_000)), (model::Origin::Guest, lines(34))];
    workload.vertical = vec![("linux".into(), lines(40_000)), ("vmm".into(), lines(2))];
    workload.entries.truncate(1);
    workload.entries[0].count = 77;
    workload.unknown = 5;
    let page = html::page(&report).unwrap();
    let cells = [
        "<b>1,234</b>",
        "25 %",
        "1,000",
        "0",
        "34",
        "0.12 – 6.2",
        "40,002",
        "321",
        "9,876,543",
        "77",
        "5",
    ];
    let cells: String = cells.iter().map(|cell| format!("<td class=\"n\">{cell}</td>")).collect();
    assert!(page.contains(&cells), "no such row: {cells}");
}

#[test]
fn the_odd_cases_make_a_page() {
    assert!(html::page(&sample::one_system()).unwrap().contains("Redoubt"));
    assert!(html::page(&sample::nothing_traversed()).unwrap().contains("No image is counted."));
    assert!(html::page(&sample::no_system()).unwrap().contains("Nothing was measured."));
    let page = html::page(&sample::extremes()).unwrap();
    assert!(page.contains("<b>30,000,000</b>") && page.contains("3,000 – 150,000"));
}

#[test]
fn a_report_that_cannot_be_shown_is_refused() {
    let refuse = |change: fn(&mut model::Report)| {
        let mut report = sample::one_system();
        change(&mut report);
        html::page(&report).unwrap_err().to_string()
    };
    assert!(refuse(|report| report.version = 2).contains("version 2"));
    assert!(refuse(|report| report.density.low = f64::NAN).contains("NaN"));
    assert!(refuse(|report| report.density.high = f64::INFINITY).contains("inf"));
    assert!(refuse(|report| report.density.low = -1.0).contains("-1"));
    assert!(refuse(|report| report.density.low = 6.0).contains("above its upper end"));
}
