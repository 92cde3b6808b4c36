/** Prometheus's text format, as far as the gateway's page of metrics uses it. */

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Return every sample of a page. */
export function samplesOf(page: string): Sample[] {
  const found: Sample[] = [];
  for (const line of page.split("\n")) {
    const match = LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, text]) => [name!, unescaped(text!)]));
    found.push({ name: match[1]!, labels, value: Number(match[3]!.replace("Inf", "Infinity")) });
  }
  return found;
}

const unescaped = (text: string) => text.replace(/\\(.)/g, (_, one: string) => (one === "n" ? "\n" : one));

/** Return the sum of a metric's samples, by model. */
export function byModel(samples: Sample[], name: string, where: Record<string, string> = {}): Map<string, number> {
  const sums = new Map<string, number>();
  for (const sample of samples) {
    if (sample.name !== name || !sample.labels.model) continue;
    if (Object.entries(where).some(([label, value]) => sample.labels[label] !== value)) continue;
    sums.set(sample.labels.model, (sums.get(sample.labels.model) ?? 0) + sample.value);
  }
  return sums;
}

/** Return a quantile of what a histogram counted since an earlier page; interpolated as PromQL does. */
export function quantile(share: number, now: Sample[], before: Sample[], name: string, model: string): number | null {
  const counts = (samples: Sample[]) => {
    const sums = new Map<number, number>();
    for (const { name: own, labels, value } of samples) {
      if (own !== `${name}_bucket` || labels.model !== model) continue;
      const limit = Number(labels.le!.replace("+Inf", "Infinity"));
      sums.set(limit, (sums.get(limit) ?? 0) + value);
    }
    return sums;
  };
  const then = counts(before);
  const buckets = [...counts(now)].map(([limit, count]) => [limit, count - (then.get(limit) ?? 0)] as const)
    .sort(([a], [b]) => a - b);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  let lower = 0;
  let below = 0;
  for (const [limit, count] of buckets) {
    if (count >= share * total) {
      if (limit === Infinity) return lower;
      return lower + ((limit - lower) * (share * total - below)) / (count - below);
    }
    [lower, below] = [limit, count];
  }
  return null;
}
