// Lets a person try the WebSocket of this very address.
"use strict";
(() => {
  const form = document.getElementById("echo");
  if (!form) return;
  const message = document.getElementById("message");
  const log = document.getElementById("log");
  const show = (text) => {
    const item = document.createElement("li");
    item.textContent = text;
    log.append(item);
  };
  const socket = new WebSocket(new URL("/ws", location.href.replace(/^http/, "ws")));
  const waiting = [];
  socket.addEventListener("open", () => waiting.splice(0).forEach((text) => socket.send(text)));
  socket.addEventListener("message", (event) => show(event.data));
  socket.addEventListener("close", (event) => show("× " + event.code));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (socket.readyState === WebSocket.OPEN) socket.send(message.value);
    else if (socket.readyState === WebSocket.CONNECTING) waiting.push(message.value);
    message.value = "";
    message.focus();
  });
})();
