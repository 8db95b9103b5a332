// SPDX-License-Identifier: Apache-2.0
//! Charts that `fleet.yaml` files have rendered with values of their own.

use serde_json::{Map, Value};

use super::engines::{ChartSource, Demand, Demands, MAX_DEPTH};
use super::model::{Origin, Problem};
use super::values::merge;
use super::walk::Entry;
use super::yaml::documents;

/// The charts of a `fleet.yaml`. Without a chart, Fleet applies the manifests of the folder, which are read anyway.
pub(super) fn fleet(file: &Entry, text: &str) -> Demands {
    let mut demands = Demands::default();
    let (documents, error) = documents(text);
    let Some(node) = documents.first().filter(|_| error.is_none()) else { return demands };
    let origin = Origin { resource: Some("fleet bundle".to_owned()), ..Origin::file(&file.name) };
    let folder = file.path.parent().unwrap_or(&file.path).to_owned();
    let targets = node.items_at(&["targetCustomizations"]).iter().filter_map(|target| target.get("helm"));
    let Some(base) = node.get("helm") else { return demands };
    if base.text_at(&["chart"]).is_none() && !folder.join("Chart.yaml").is_file() {
        return demands;
    }
    let mut variants = vec![None];
    variants.extend(targets.map(Some));
    for variant in variants {
        let text = |key: &str| {
            variant
                .and_then(|variant| variant.text_at(&[key]))
                .or_else(|| base.text_at(&[key]))
                .unwrap_or_default()
                .to_owned()
        };
        let (chart, url, version) = (text("chart"), text("repo"), text("version"));
        let chart_folder = if chart.is_empty() { folder.clone() } else { folder.join(&chart) };
        let chart = if url.is_empty() && !chart.contains("://") {
            ChartSource::Folder(chart_folder)
        } else {
            ChartSource::of(&url, &chart, &version)
        };
        let own = base.get("values").map(|values| values.json(MAX_DEPTH)).filter(Value::is_object);
        let mut values = own.unwrap_or_else(|| Value::Object(Map::new()));
        let mut files = Vec::new();
        for node in [Some(base), variant].into_iter().flatten() {
            let named = node.items_at(&["valuesFiles"]).iter().filter_map(|file| file.text());
            files.extend(named.map(|file| folder.join(file)));
            if !node.items_at(&["valuesFrom"]).is_empty() {
                demands.problems.push(Problem {
                    origin: origin.clone(),
                    reason: "takes values from ConfigMaps or Secrets of the cluster".to_owned(),
                    help: Some("render the chart with these values, and pipe the result: helm template … | krs collect -".to_owned()),
                });
            }
        }
        if let Some(own) = variant.and_then(|variant| variant.get("values")) {
            merge(&mut values, own.json(MAX_DEPTH));
        }
        let release = text("releaseName");
        let namespace =
            node.text_at(&["defaultNamespace"]).or_else(|| node.text_at(&["namespace"])).map(str::to_owned);
        demands.charts.push(Demand { origin: origin.clone(), chart, release, namespace, values, files });
    }
    demands
}
