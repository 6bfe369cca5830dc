// The events of the server, as they come; after a pause it connects again and everything is loaded anew.

const SLOWEST = 10_000;

/** Listen; gives what ends that. `on.event(event)`, `on.up(isAgain)`, `on.down()`. */
export function listen(address, on) {
  let socket = null;
  let wait = 250;
  let timer = 0;
  let isOver = false;
  let wasUp = false;

  function connect() {
    const url = new URL(address, document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(url);
    socket.onopen = () => {
      wait = 250;
      on.up(wasUp);
      wasUp = true;
    };
    socket.onmessage = (message) => on.event(JSON.parse(message.data));
    socket.onclose = () => {
      if (isOver) return;
      on.down();
      timer = setTimeout(connect, wait);
      wait = Math.min(wait * 2, SLOWEST);
    };
  }

  connect();
  return () => {
    isOver = true;
    clearTimeout(timer);
    socket.close();
  };
}
