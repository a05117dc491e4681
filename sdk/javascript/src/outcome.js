/** The same batch may work later: the host tries again. */
export class Retry extends Error {}

/** This configuration never will work: the stage stops. */
export class Fatal extends Error {}
