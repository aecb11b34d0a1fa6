// A page that is opened from the disk may start no worker, so its search runs in a hidden frame.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = frame.contentWindow
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = inner.document.createElement("script")
      const loaded = new Promise(done => { script.onload = done })
      script.src = url
      inner.document.body.append(script)
      this.postMessage = data => loaded.then(() => inner.dispatchEvent(new inner.MessageEvent("message", { data })))
    }
  }
