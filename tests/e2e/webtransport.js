// What a page does with the demo's /wt; its value says how far it came.
(async () => {
    const heard = [];
    const text = new TextDecoder();
    const bytes = (string) => new TextEncoder().encode(string);
    const all = async (readable) => {
        const pieces = [];
        const reader = readable.getReader();
        for (;;) {
            const { value, done } = await reader.read();
            if (done) return pieces.map((piece) => text.decode(piece)).join('');
            pieces.push(value);
        }
    };
    const there = async (stream, string) => {
        const writer = stream.getWriter();
        await writer.write(bytes(string));
        await writer.close();
    };
    const session = new WebTransport('{url}', {options});
    await session.ready;

    const both = await session.createBidirectionalStream();
    const echo = all(both.readable);
    await there(both.writable, 'bidirectional');
    heard.push(await echo);

    const large = await session.createBidirectionalStream();
    const received = all(large.readable);
    await there(large.writable, 'x'.repeat(200000));
    heard.push((await received).length + ' bytes');

    const one = await session.createUnidirectionalStream();
    await there(one, 'unidirectional');
    const answers = session.incomingUnidirectionalStreams.getReader();
    heard.push(await all((await answers.read()).value));

    const writable = session.datagrams.writable ?? session.datagrams.createWritable();
    const datagrams = writable.getWriter();
    const incoming = session.datagrams.readable.getReader();
    const answer = incoming.read();
    for (let sent = 0; sent < 20; sent++) {
        await datagrams.write(bytes('datagram'));
        if (await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 50))])) break;
    }
    heard.push(text.decode((await answer).value));

    const second = new WebTransport('{url}', {options});
    await second.ready;
    const beside = await second.createBidirectionalStream();
    const besides = all(beside.readable);
    await there(beside.writable, 'second session');
    heard.push(await besides);
    second.close();

    session.close({ closeCode: 7, reason: 'done' });
    await session.closed;
    heard.push('closed');
    return heard.join(', ');
})()
