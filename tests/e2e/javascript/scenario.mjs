// What a program with @kubernetes/client-node does with a pod, from its creation to its end.
// node scenario.mjs KUBECONFIG NAMESPACE POD.json; prints the name of each step that went well.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const [kubeconfig, namespace, manifest] = process.argv.slice(2);
const body = JSON.parse(readFileSync(manifest, 'utf8'));
const { name } = body.metadata;
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const events = config.makeApiClient(k8s.EventsV1Api);

setTimeout(() => {
    console.error('this took more than a minute');
    process.exit(2);
}, 60_000).unref();

const step = (word) => console.log(word);
const failsWith = (code) => (error) => error.code === code || assert.fail(`${error}`);
const isReady = (pod) => (pod.status?.conditions ?? []).some((c) => c.type === 'Ready' && c.status === 'True');

// until(parameters, condition): watch pods until an event fulfils the condition; gives the types seen so far.
async function until(parameters, condition) {
    const types = [];
    let controller;
    await new Promise((resolve, reject) => {
        const onEvent = (type, object) => {
            types.push(type);
            if (condition(type, object)) resolve();
        };
        const path = `/api/v1/namespaces/${namespace}/pods`;
        const done = (error) => reject(error ?? new Error(`the watch ended after ${types}`));
        new k8s.Watch(config).watch(path, parameters, onEvent, done).then((made) => (controller = made), reject);
    });
    controller?.abort();
    return types;
}

// listen(stream).until(word): all of the stream's text, as soon as it contains the word.
function listen(stream) {
    let text = '';
    let wake = () => {};
    stream.on('data', (data) => {
        text += data;
        wake();
    });
    return {
        async until(word) {
            while (!text.includes(word)) await new Promise((resolve) => (wake = resolve));
            return text;
        },
    };
}

async function run(command, input) {
    const [out, err] = [new PassThrough(), new PassThrough()];
    const texts = Promise.all([out, err].map(async (s) => (await s.toArray()).join('')));
    const stdin = input === undefined ? null : new PassThrough();
    const status = await new Promise((resolve, reject) => {
        const exec = new k8s.Exec(config);
        exec.exec(namespace, name, 'server', command, out, err, stdin, false, resolve).catch(reject);
        stdin?.end(input);
    });
    return { status, texts: await texts };
}

const { metadata } = await core.listNamespacedPod({ namespace });
await core.createNamespacedPod({ namespace, body });
const selection = { labelSelector: `app=${name}`, resourceVersion: metadata.resourceVersion };
const types = await until(selection, (_, pod) => isReady(pod));
assert.equal(types[0], 'ADDED');
const selected = await core.listNamespacedPod({ namespace, labelSelector: 'app', fieldSelector: 'status.phase=Running' });
assert.deepEqual(selected.items.map((pod) => pod.metadata.name), [name]);
step('created');

const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/pods`, () => core.listNamespacedPod({ namespace }));
const added = new Promise((resolve) => informer.on('add', resolve));
await informer.start();
assert.equal((await added).metadata.name, name);
await informer.stop();
step('informed');

const talk = await run(['sh', '-c', 'cat; echo $WHO; echo no >&2; exit 3'], 'in\n');
assert.deepEqual(talk.texts, [`in\n${name}\n`, 'no\n']);
assert.equal(talk.status.details.causes.find((cause) => cause.reason === 'ExitCode').message, '3');
step('executed');

const [log, output, input] = [new PassThrough(), new PassThrough(), new PassThrough()];
const [lines, echo] = [listen(log), listen(output)];
const logging = await new k8s.Log(config).log(namespace, name, 'server', log, { follow: true });
assert.match(await lines.until('listening\n'), /^listening\n/);
const socket = await new k8s.PortForward(config).portForward(namespace, name, [7000], output, null, input);
input.write('javascript');
assert.equal(await echo.until('javascript'), 'javascript');
await lines.until('heard javascript\n');
socket.close();
logging.abort();
step('forwarded');

const patching = { name, namespace, body: { metadata: { labels: { more: 'yes' } } } };
const merge = k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch);
assert.equal((await core.patchNamespacedPod(patching, merge)).metadata.labels.more, 'yes');
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'm', namespace }, data: { k: 'v' } };
const apply = (manager, force) =>
    objects.patch(map, undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
assert.deepEqual((await apply('one')).data, { k: 'v' });
map.data.k = 'w';
await assert.rejects(apply('two'), failsWith(409));
assert.deepEqual((await apply('two', true)).data, { k: 'w' });
step('patched');

const about = await events.listNamespacedEvent({ namespace, fieldSelector: `regarding.name=${name}` });
assert.ok(about.items.some((event) => event.reason === 'Started' && event.note.includes('tarted')));
step('reported');

const { resourceVersion } = (await core.readNamespacedPod({ name, namespace })).metadata;
const gone = until({ fieldSelector: `metadata.name=${name}`, resourceVersion }, (type) => type === 'DELETED');
await core.deleteNamespacedPod({ name, namespace });
await gone;
await assert.rejects(core.readNamespacedPod({ name, namespace }), failsWith(404));
step('deleted');
process.exit(0);
