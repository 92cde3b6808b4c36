// Names without digests: the built files are committed, and the gateway sends an ETag with each.
export default {
  base: "./",
  build: {
    outDir: "../trtbuild_gateway/page",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the page's policy allows no data: URL but an image's
    modulePreload: false,
    rollupOptions: {
      output: { entryFileNames: "page.js", assetFileNames: "page[extname]" },
    },
  },
};
