// How times, sizes and addresses are written.

const DAY = 86_400_000;

/** A time for a list: the hour today, the date before. */
export function shortTime(text, now = new Date()) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return "";
  if (time.toDateString() === now.toDateString()) {
    return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }
  const isNear = Math.abs(now - time) < 300 * DAY;
  return time.toLocaleDateString([], isNear ? { day: "numeric", month: "short" } : { dateStyle: "medium" });
}

export function longTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? "" : time.toLocaleString([], {
    weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
}

export function size(octets) {
  for (const unit of ["B", "KB", "MB"]) {
    if (octets < 1000) return `${octets < 10 && unit !== "B" ? octets.toFixed(1) : Math.round(octets)} ${unit}`;
    octets /= 1000;
  }
  return `${octets.toFixed(1)} GB`;
}

export function number(count, one, many = `${one}s`) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** Who it is from or to, in one word if there is one. */
export function who(address) {
  return address ? address.Name || address.Address || "(no sender)" : "(no sender)";
}

/** Who it is for: the first one's name, and how many more in words. */
export function receivers({ To: to, Cc: cc, Bcc: bcc }) {
  const all = [...to, ...cc, ...bcc];
  if (!all.length) return ["nobody named", ""];
  return [who(all[0]), all.length === 1 ? "" : ` and ${all.length - 1} more`];
}
